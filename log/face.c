#include "log/face.h"

#include "core/base/version.h"

#include <stdio.h>
#include <string.h>

int face_take_options(void *ours, size_t ours_size, const void *theirs, struct error *error)
{
    size_t size;
    if (theirs == NULL)
        return 0;
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size)
        return error_set(error, ERROR_INVALID, "options: size must be sizeof the struct");
    for (size_t i = ours_size; i < size; i++)
        if (((const uint8_t *)theirs)[i] != 0)
            return error_set(error, ERROR_NEWER,
                             "options: this version, " DAA_VERSION ", does not know all of them");
    memcpy(ours, theirs, size < ours_size ? size : ours_size);
    return 0;
}

int face_check_flags(uint32_t flags, uint32_t known, uint32_t reserved, struct error *error)
{
    if ((flags & ~known) != 0)
        return error_set(error, ERROR_INVALID, "flags %#x are not known here", flags & ~known);
    return reserved == 0 ? 0 : error_set(error, ERROR_INVALID, "a reserved field is not 0");
}

int face_tell(int code, const struct error *error, char *why, size_t why_size)
{
    if (why != NULL && why_size > 0)
        (void)snprintf(why, why_size, "%s", code < 0 ? error->text : "");
    return code;
}
