// printf without floating point: one pass over the format, pieces go to a sink.
#include "lib/format.h"

#include <cstdint>

namespace {

using sink_function = void (*)(const char*, size_t, void*);

size_t length_of(const char* s, size_t limit) {
    size_t n = 0;
    while (n < limit && s[n])
        n++;
    return n;
}

// One conversion as it stands in the format: %[flags][width][.precision][length]letter.
struct conversion {
    bool left = false, zero = false, plus = false, space = false, alternate = false;
    int width = 0;
    int precision = -1; // none given
    enum class length { hh, h, none, l, ll, z, t, j } size = length::none;
};

class formatter {
public:
    formatter(sink_function sink, void* context, va_list arguments)
        : sink_(sink), context_(context) {
        va_copy(arguments_, arguments);
    }
    ~formatter() { va_end(arguments_); }
    formatter(const formatter&) = delete;

    void run(const char* format);

private:
    void emit(const char* text, size_t n) {
        if (n)
            sink_(text, n, context_);
    }
    void pad(char c, int n) {
        static constexpr char spaces[] = "                ", zeros[] = "0000000000000000";
        for (; n > 0; n -= 16)
            emit(c == '0' ? zeros : spaces, n < 16 ? static_cast<size_t>(n) : 16);
    }
    void text(const conversion& c, const char* s, size_t n);
    void number(const conversion& c, uint64_t magnitude, unsigned base, bool upper,
                const char* prefix);

    conversion parse(const char*& f);
    bool convert(const conversion& c, char letter);
    int read_number(const char*& f);
    int64_t read_signed(conversion::length size);
    uint64_t read_unsigned(conversion::length size);

    sink_function sink_;
    void* context_;
    va_list arguments_;
};

void formatter::text(const conversion& c, const char* s, size_t n) {
    int padding = c.width - static_cast<int>(n);
    if (!c.left)
        pad(' ', padding);
    emit(s, n);
    if (c.left)
        pad(' ', padding);
}

// `prefix` is the sign or 0x, which goes before zero padding and after blanks.
void formatter::number(const conversion& c, uint64_t magnitude, unsigned base, bool upper,
                       const char* prefix) {
    char digits[24];
    char* p = digits + sizeof(digits);
    const char* alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (uint64_t rest = magnitude; rest; rest /= base)
        *--p = alphabet[rest % base];
    int count = static_cast<int>(digits + sizeof(digits) - p);
    int zeros = (c.precision >= 0 ? c.precision : 1) - count;
    if (zeros < 0)
        zeros = 0;
    if (base == 8 && c.alternate && zeros == 0 && (count == 0 || *p != '0'))
        zeros = 1;
    int prefix_length = static_cast<int>(length_of(prefix, 2));
    int padding = c.width - count - zeros - prefix_length;
    if (c.zero && !c.left && c.precision < 0 && padding > 0) {
        zeros += padding;
        padding = 0;
    }
    if (!c.left)
        pad(' ', padding);
    emit(prefix, static_cast<size_t>(prefix_length));
    pad('0', zeros);
    emit(p, static_cast<size_t>(count));
    if (c.left)
        pad(' ', padding);
}

// %d and its like: a number of the width that the format says.
int64_t formatter::read_signed(conversion::length size) {
    switch (size) {
    case conversion::length::hh: return static_cast<signed char>(va_arg(arguments_, int));
    case conversion::length::h: return static_cast<short>(va_arg(arguments_, int));
    case conversion::length::none: return va_arg(arguments_, int);
    default: return va_arg(arguments_, long);
    }
}

uint64_t formatter::read_unsigned(conversion::length size) {
    switch (size) {
    case conversion::length::hh: return static_cast<unsigned char>(va_arg(arguments_, unsigned));
    case conversion::length::h: return static_cast<unsigned short>(va_arg(arguments_, unsigned));
    case conversion::length::none: return va_arg(arguments_, unsigned);
    default: return va_arg(arguments_, unsigned long);
    }
}

// A width or a precision, at `f`.
int formatter::read_number(const char*& f) {
    if (*f == '*') {
        f++;
        return va_arg(arguments_, int);
    }
    int n = 0;
    for (; *f >= '0' && *f <= '9'; f++)
        if (n < 100'000)
            n = n * 10 + (*f - '0');
    return n;
}

// What stands between the % and the letter. Leaves `f` at the letter.
conversion formatter::parse(const char*& f) {
    using length = conversion::length;
    conversion c;
    for (;; f++) {
        if (*f == '-')
            c.left = true;
        else if (*f == '0')
            c.zero = true;
        else if (*f == '+')
            c.plus = true;
        else if (*f == ' ')
            c.space = true;
        else if (*f == '#')
            c.alternate = true;
        else
            break;
    }
    c.width = read_number(f);
    if (c.width < 0) {
        c.left = true;
        c.width = -c.width;
    }
    if (*f == '.')
        c.precision = read_number(++f); // a negative one counts as none
    switch (*f) {
    case 'h': c.size = *++f == 'h' ? (f++, length::hh) : length::h; break;
    case 'l': c.size = *++f == 'l' ? (f++, length::ll) : length::l; break;
    case 'z': f++, c.size = length::z; break;
    case 't': f++, c.size = length::t; break;
    case 'j': f++, c.size = length::j; break;
    default: break;
    }
    return c;
}

// One argument, by its letter. False for a letter that is none.
bool formatter::convert(const conversion& c, char letter) {
    switch (letter) {
    case 'd':
    case 'i': {
        const int64_t v = read_signed(c.size);
        const char* sign = v < 0 ? "-" : c.plus ? "+" : c.space ? " " : "";
        number(c, v < 0 ? -static_cast<uint64_t>(v) : static_cast<uint64_t>(v), 10, false, sign);
        return true;
    }
    case 'u': number(c, read_unsigned(c.size), 10, false, ""); return true;
    case 'o': number(c, read_unsigned(c.size), 8, false, ""); return true;
    case 'x':
    case 'X': {
        const uint64_t v = read_unsigned(c.size);
        const bool upper = letter == 'X';
        number(c, v, 16, upper, c.alternate && v ? (upper ? "0X" : "0x") : "");
        return true;
    }
    case 'p':
        number(c, reinterpret_cast<uintptr_t>(va_arg(arguments_, void*)), 16, false, "0x");
        return true;
    case 'c': {
        const char ch = static_cast<char>(va_arg(arguments_, int));
        text(c, &ch, 1);
        return true;
    }
    case 's': {
        const char* s = va_arg(arguments_, const char*);
        if (!s)
            s = "(null)";
        text(c, s, length_of(s, c.precision >= 0 ? static_cast<size_t>(c.precision) : SIZE_MAX));
        return true;
    }
    case '%': emit("%", 1); return true;
    default: return false;
    }
}

void formatter::run(const char* f) {
    for (;;) {
        const char* plain = f;
        while (*f && *f != '%')
            f++;
        emit(plain, static_cast<size_t>(f - plain));
        if (!*f)
            return;
        const char* start = f++;
        const conversion c = parse(f);
        if (*f && convert(c, *f))
            f++;
        else // not a conversion that we know: show it as it stands
            emit(start, static_cast<size_t>((*f ? ++f : f) - start));
    }
}

struct buffer {
    char* out;
    size_t size;   // of `out`
    size_t length; // of the whole text
};

void append(const char* text, size_t n, void* context) {
    auto& b = *static_cast<buffer*>(context);
    for (size_t i = 0; i < n; i++, b.length++)
        if (b.length + 1 < b.size)
            b.out[b.length] = text[i];
}

} // namespace

void vformat(void (*sink)(const char*, size_t, void*), void* context, const char* format,
             va_list args) {
    formatter(sink, context, args).run(format);
}

int vformat_to(char* out, size_t size, const char* format, va_list args) {
    buffer b{out, size, 0};
    vformat(append, &b, format, args);
    if (size)
        out[b.length < size ? b.length : size - 1] = '\0';
    return static_cast<int>(b.length);
}

int format_to(char* out, size_t size, const char* format, ...) {
    va_list args;
    va_start(args, format);
    int n = vformat_to(out, size, format, args);
    va_end(args);
    return n;
}
