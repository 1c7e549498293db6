/* The one place that sees toml++. Its failures of memory end the process: this runs at start. */
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

extern "C" {
#include "tools/config/toml.h"
#include "tools/config/toml_check.h"
}

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_MAX_NESTED_VALUES 16
/* Its assertions hold for text that is TOML. For "[=" one does not, and the code behind it refuses
 * the text as it should: without the assertion the answer is an error, with it an abort. */
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

namespace
{

char *copy_of(std::string_view text)
{
    char *copy = static_cast<char *>(malloc(text.size() + 1));
    if (copy == nullptr)
        abort();
    memcpy(copy, text.data(), text.size());
    copy[text.size()] = '\0';
    return copy;
}

bool is_bare(std::string_view key)
{
    return !key.empty() && key.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                 "0123456789_-") == std::string_view::npos;
}

std::string path_of(const std::string &parent, std::string_view key)
{
    std::string path = parent;
    if (!path.empty())
        path += '.';
    if (is_bare(key))
        return path.append(key);
    return path.append("\"").append(key).append("\"");
}

const char *what_is(const toml::node &node)
{
    switch (node.type()) {
    case toml::node_type::table:
        return "a table";
    case toml::node_type::array:
        return "a list";
    case toml::node_type::string:
        return "text with a NUL in it";
    case toml::node_type::integer:
        return "a number";
    case toml::node_type::floating_point:
        return "a number with a fraction";
    case toml::node_type::boolean:
        return "true or false";
    case toml::node_type::none:
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
        break;
    }
    return "a date or a time";
}

/* Text that C can hold, or null. */
const std::string *plain_text(const toml::node &node)
{
    const auto *text = node.as_string();
    if (text == nullptr || text->get().find('\0') != std::string::npos)
        return nullptr;
    return &text->get();
}

void set_other(toml_entry &entry, const toml::node &node, const char *before)
{
    entry.kind = TOML_OTHER;
    entry.text = copy_of(std::string(before) + what_is(node));
}

void set_list(toml_entry &entry, const toml::array &list)
{
    for (const toml::node &item : list)
        if (plain_text(item) == nullptr)
            return set_other(entry, item, "a list that holds ");
    entry.kind = TOML_LIST;
    entry.items = static_cast<char **>(calloc(list.size() + 1, sizeof *entry.items));
    if (entry.items == nullptr)
        abort();
    for (const toml::node &item : list)
        entry.items[entry.item_count++] = copy_of(*plain_text(item));
}

void set_value(toml_entry &entry, const toml::node &node)
{
    if (const auto *list = node.as_array())
        return set_list(entry, *list);
    if (const auto *integer = node.as_integer()) {
        entry.kind = TOML_INTEGER;
        entry.integer = integer->get();
    } else if (const auto *truth = node.as_boolean()) {
        entry.kind = TOML_TRUTH;
        entry.truth = truth->get();
    } else if (const std::string *text = plain_text(node)) {
        entry.kind = TOML_TEXT;
        entry.text = copy_of(*text);
    } else {
        set_other(entry, node, "");
    }
}

void flatten(std::vector<toml_entry> &entries, const std::string &parent, const toml::table &table)
{
    for (auto &&[key, node] : table) {
        std::string path = path_of(parent, key.str());
        toml_entry entry = {};
        entry.line = key.source().begin.line;
        entry.path = copy_of(path);
        if (const toml::table *inner = node.as_table()) {
            entry.kind = TOML_TABLE;
            entries.push_back(entry);
            flatten(entries, path, *inner);
        } else {
            set_value(entry, node);
            entries.push_back(entry);
        }
    }
}

} // namespace

int toml_read(struct toml_document *document, const char *name, struct span text,
              struct error *error)
{
    std::string_view view(reinterpret_cast<const char *>(text.bytes), text.size);
    *document = toml_document{};
    if (int failed = toml_check(name, text, error); failed < 0)
        return failed;
    toml::parse_result result = toml::parse(view);
    if (!result) {
        const toml::parse_error &wrong = result.error();
        std::string description(wrong.description());
        return error_set(error, ERROR_SYNTAX, "%s:%u: %s (column %u)", name,
                         static_cast<unsigned>(wrong.source().begin.line), description.c_str(),
                         static_cast<unsigned>(wrong.source().begin.column));
    }

    std::vector<toml_entry> entries;
    flatten(entries, "", result.table());
    std::stable_sort(entries.begin(), entries.end(),
                     [](const toml_entry &a, const toml_entry &b) { return a.line < b.line; });
    if (entries.empty())
        return 0;
    size_t size = entries.size() * sizeof(toml_entry);
    document->entries = static_cast<toml_entry *>(malloc(size));
    if (document->entries == nullptr)
        abort();
    memcpy(document->entries, entries.data(), size);
    document->count = entries.size();
    return 0;
}

void toml_free(struct toml_document *document)
{
    for (size_t i = 0; i < document->count; i++) {
        toml_entry &entry = document->entries[i];
        for (size_t j = 0; j < entry.item_count; j++)
            free(entry.items[j]);
        free(entry.items);
        free(entry.text);
        free(entry.path);
    }
    free(document->entries);
    *document = toml_document{};
}
