// text_sink: where generated text goes, piece by piece.
//
// Names are chosen by programs and may hold line breaks: in a text of lines they go in by
// append_escaped(), or one program writes another's lines.
#pragma once

#include <cstdarg>
#include <string_view>

class text_sink {
public:
    virtual void append(std::string_view text) = 0;
    void append(char c) { append(std::string_view{&c, 1}); }
    void print(const char* format, ...) __attribute__((format(printf, 2, 3)));
    // `text` between quotation marks, as JSON wants it: what is not printable ASCII as \u00XX, a
    // byte each.
    void append_json_string(std::string_view text);
    // `text`, which somebody else has chosen, with each of the characters in `special` as \ooo.
    void append_escaped(std::string_view text, std::string_view special);

protected:
    ~text_sink() = default;
};
