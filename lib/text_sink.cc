#include "lib/text_sink.h"

#include "lib/format.h"

void text_sink::print(const char* format, ...) {
    va_list args;
    va_start(args, format);
    vformat([](const char* text, size_t length,
               void* sink) { static_cast<text_sink*>(sink)->append({text, length}); },
            this, format, args);
    va_end(args);
}

void text_sink::append_escaped(std::string_view text, std::string_view special) {
    for (char c : text) {
        if (special.contains(c))
            print("\\%03o", static_cast<unsigned char>(c));
        else
            append(c);
    }
}

void text_sink::append_json_string(std::string_view text) {
    append('"');
    for (char c : text) {
        if (c == '"' || c == '\\') {
            append('\\');
            append(c);
        } else if (c >= ' ' && c <= '~') {
            append(c);
        } else {
            print("\\u%04x", static_cast<unsigned char>(c));
        }
    }
    append('"');
}
