// The sink that trace events (lib/trace.h) go to on the host: a list that tests read.
#pragma once

#include "lib/trace.h"

#include <cstring>
#include <vector>

struct host_event {
    trace::point id;
    std::vector<unsigned char> fields;

    template <class Event> bool is() const { return id == Event::id; }
    template <class Event> Event as() const {
        alignas(Event) unsigned char copy[sizeof(Event)];
        std::memcpy(copy, fields.data(), sizeof copy);
        return *reinterpret_cast<const Event*>(copy);
    }
};

// While one exists, the events of `categories` are kept. One at a time.
class host_trace {
public:
    explicit host_trace(uint32_t categories = trace::all_categories);
    ~host_trace();
    // What has come so far, oldest first; the list is empty afterwards.
    std::vector<host_event> take();
};
