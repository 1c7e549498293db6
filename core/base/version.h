/* The one place that says which release this is. */
#ifndef CORE_BASE_VERSION_H
#define CORE_BASE_VERSION_H
#define DAA_VERSION "0.1.0"
#endif
