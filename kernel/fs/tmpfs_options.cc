#include "kernel/fs/tmpfs_options.h"

#include "kernel/files/file.h"
#include "lib/string.h"
#include "lib/types.h"
#include "vm/phys/vm_page.h"

#include <string_view>

tmpfs_limits tmpfs_limits::usual() {
    const uint64_t half = vm_page_total() / 2;
    return {half, half};
}

namespace {

// The digits at `text`, which is moved behind them. Nullopt when there are none, or too many.
std::optional<uint64_t> number(const char*& text, unsigned base) {
    const char* start = text;
    uint64_t value = 0;
    for (; *text >= '0' && *text < char('0' + base); text++)
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, uint64_t(*text - '0'), &value))
            return std::nullopt;
    return text == start ? std::nullopt : std::optional(value);
}

// A number, and a letter that multiplies it.
std::optional<uint64_t> amount(const char*& text) {
    auto value = number(text, 10);
    if (!value)
        return std::nullopt;
    static constexpr char letters[] = "kmgtpe";
    const char* letter = *text ? strchr(letters, *text | 0x20) : nullptr;
    if (!letter)
        return value;
    text++;
    const unsigned bits = unsigned(letter - letters + 1) * 10;
    return *value >> (64 - bits) ? std::nullopt : std::optional(*value << bits);
}

// A size in pages: bytes, or a percentage of memory.
std::optional<uint64_t> size_in_pages(const char*& text) {
    auto value = amount(text);
    if (value && *text == '%') {
        text++;
        const uint64_t total = vm_page_total();
        return *value > UINT32_MAX ? std::nullopt : std::optional((*value * total + 99) / 100);
    }
    return value && *value <= INT64_MAX ? std::optional(pages_of(*value)) : std::nullopt;
}

// Sets what `key` names to what `text` says. EINVAL.
status set_option(tmpfs_options& options, std::string_view key, const char* text) {
    std::optional<uint64_t> value;
    std::optional<uint32_t>* small = key == "mode"  ? &options.mode
                                     : key == "uid" ? &options.uid
                                     : key == "gid" ? &options.gid
                                                    : nullptr;
    if (small)
        value = number(text, key == "mode" ? 8 : 10);
    else if (key == "size")
        value = options.pages = size_in_pages(text);
    else if (key == "nr_blocks")
        value = options.pages = amount(text);
    else if (key == "nr_inodes")
        value = options.files = amount(text);
    if (!value || *text || (small && *value > UINT32_MAX))
        return fail(Errno::inval);
    if (small)
        *small = uint32_t(*value);
    return {};
}

} // namespace

expected<tmpfs_options> tmpfs_options::parse(char* text) {
    tmpfs_options options;
    while (*text) {
        char* comma = strchr(text, ',');
        char* next = comma ? comma + 1 : text + strlen(text);
        if (comma)
            *comma = '\0';
        char* equals = strchr(text, '=');
        if (!equals)
            return fail(Errno::inval);
        TRY(set_option(options, {text, size_t(equals - text)}, equals + 1));
        text = next;
    }
    // 0 pages, or files, would be none.
    if (options.pages == 0u)
        options.pages = tmpfs_limits::unlimited;
    if (options.files == 0u)
        options.files = tmpfs_limits::unlimited;
    return options;
}
