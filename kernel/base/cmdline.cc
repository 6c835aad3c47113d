#include "kernel/base/cmdline.h"

#include "arch/boot_info.h"
#include "lib/string.h"

#include <algorithm>
#include <string_view>

namespace {

constinit char text[boot_info::max_command_line] = {};

// Words that other parts declare themselves would be here too: there is only this table.
constexpr std::string_view known[] = {
#define X(word, meaning) word,
    CMDLINE_WORDS(X)
#undef X
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// Calls f(word) for each word until it returns true; says whether it did.
template <class F> bool any_word(F f) {
    std::string_view rest(text);
    while (!rest.empty()) {
        if (is_space(rest.front())) {
            rest.remove_prefix(1);
            continue;
        }
        size_t n = 0;
        while (n < rest.size() && !is_space(rest[n]))
            n++;
        if (f(std::string_view(rest.data(), n)))
            return true;
        rest.remove_prefix(n);
    }
    return false;
}

bool is_ours(std::string_view word) {
    return std::any_of(std::begin(known), std::end(known), [&](std::string_view k) {
        return k.back() == '=' ? word.starts_with(k) : word == k;
    });
}

void copy_view(char* out, size_t size, std::string_view from) {
    size_t n = std::min(from.size(), size - 1);
    memcpy(out, from.data(), n);
    out[n] = '\0';
}

} // namespace

void cmdline_init(const char* from) { copy_string(text, sizeof text, from); }

bool cmdline_has(const char* word) {
    return any_word([&](std::string_view w) { return w == word; });
}

bool cmdline_value(const char* word, char* out, size_t size) {
    std::string_view name(word), found;
    if (name.ends_with('=')) // as the table writes it
        name.remove_suffix(1);
    bool there = false;
    any_word([&](std::string_view w) {
        if (w.size() > name.size() && w.starts_with(name) && w[name.size()] == '=') {
            found = w;
            found.remove_prefix(name.size() + 1);
            there = true;
        }
        return false;
    });
    if (there)
        copy_view(out, size, found);
    return there;
}

uint64_t cmdline_number(const char* word, uint64_t otherwise) {
    char value[32];
    if (!cmdline_value(word, value, sizeof value))
        return otherwise;
    uint64_t number = 0;
    for (const char* c = value; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *c - '0', &number))
            return otherwise;
    }
    return value[0] != '\0' ? number : otherwise;
}

const char* cmdline_text() { return text; }

bool cmdline_foreign_word(size_t n, char* out, size_t size) {
    return any_word([&](std::string_view w) {
        if (is_ours(w) || n-- != 0)
            return false;
        copy_view(out, size, w);
        return true;
    });
}
