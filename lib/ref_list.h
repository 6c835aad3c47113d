// A list that owns: a reference goes in with each element, and comes out with it.
#pragma once

#include "lib/list.h"
#include "lib/ref_ptr.h"

#include <utility>

template <class T, list_node T::* Node> class ref_list : private list<T, Node> {
    using elements = list<T, Node>;

public:
    ~ref_list() {
        while (pop_front()) {
        }
    }
    using elements::back;
    using elements::begin;
    using elements::empty;
    using elements::end;
    using elements::front;
    using elements::next;
    using elements::prev;
    using elements::size;

    void push_back(ref_ptr<T> element) { elements::push_back(*element.leak()); }
    [[nodiscard]] ref_ptr<T> remove(T& element) {
        elements::remove(element);
        return ref_ptr<T>::adopt(&element);
    }
    [[nodiscard]] ref_ptr<T> pop_front() { return ref_ptr<T>::adopt(elements::pop_front()); }
};
