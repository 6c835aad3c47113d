// An intrusive doubly linked list: the links live in the element, so that putting one on a
// list cannot fail. An element may be on as many lists as it has list_nodes.
//
//     struct waiter { list_node on_queue; };
//     list<waiter, &waiter::on_queue> queue;
#pragma once

#include "lib/assert.h"

#include <cstddef>
#include <cstdint>

struct list_node {
    list_node* next = nullptr;
    list_node* prev = nullptr;
    bool linked() const { return next != nullptr; }
};

template <class T, list_node T::* Node> class list {
public:
    class iterator {
    public:
        explicit iterator(list_node* at) : at_(at) {}
        T& operator*() const { return *owner(at_); }
        T* operator->() const { return owner(at_); }
        iterator& operator++() {
            at_ = at_->next;
            return *this;
        }
        friend bool operator==(iterator, iterator) = default;

    private:
        list_node* at_;
    };

    constexpr list() = default;
    list(const list&) = delete;
    list& operator=(const list&) = delete;

    bool empty() const { return first() == &head_; }
    T* front() const { return empty() ? nullptr : owner(head_.next); }
    T* back() const { return empty() ? nullptr : owner(head_.prev); }
    // The neighbour of an element of this list, or null at the end.
    T* next(T& element) const { return at_or_null((element.*Node).next); }
    T* prev(T& element) const { return at_or_null((element.*Node).prev); }

    void push_front(T& element) { link(element, first()); }
    void push_back(T& element) { link(element, &head_); }
    void insert_before(T& position, T& element) { link(element, &(position.*Node)); }
    void insert_after(T& position, T& element) { link(element, (position.*Node).next); }
    void remove(T& element) {
        list_node& n = element.*Node;
        ASSERT(n.linked());
        n.prev->next = n.next;
        n.next->prev = n.prev;
        n.next = n.prev = nullptr;
    }
    T* pop_front() {
        T* first = front();
        if (first)
            remove(*first);
        return first;
    }
    // Moves all elements of `other` to this list's end.
    void splice_back(list& other);
    size_t size() const { // linear
        size_t n = 0;
        for (list_node* p = first(); p != &head_; p = p->next)
            n++;
        return n;
    }

    // Removing the element an iterator is at invalidates it: advance first.
    iterator begin() const { return iterator(first()); }
    iterator end() const { return iterator(const_cast<list_node*>(&head_)); }

private:
    static T* owner(list_node* n) {
        // offsetof by pointer to member, on an address that is never dereferenced.
        auto offset = reinterpret_cast<uintptr_t>(&(reinterpret_cast<T*>(page)->*Node)) - page;
        return reinterpret_cast<T*>(reinterpret_cast<char*>(n) - offset);
    }
    T* at_or_null(list_node* n) const { return n == &head_ ? nullptr : owner(n); }
    list_node* first() const { return head_.next ? head_.next : const_cast<list_node*>(&head_); }
    void close_ring() {
        if (!head_.next)
            head_.next = head_.prev = &head_;
    }
    void link(T& element, list_node* before) {
        list_node& n = element.*Node;
        ASSERT(!n.linked());
        close_ring();
        n.next = before;
        n.prev = before->prev;
        before->prev->next = &n;
        before->prev = &n;
    }

    static constexpr uintptr_t page = 4096;
    // A ring with the elements. All null until the first one comes: a constant initializer that
    // points to itself is wrong in arrays under GCC 12, and a list of zeros lies in .bss.
    list_node head_;
};

template <class T, list_node T::* Node> inline void list<T, Node>::splice_back(list& other) {
    if (other.empty())
        return;
    list_node *from = other.head_.next, *last = other.head_.prev;
    other.head_.next = other.head_.prev = &other.head_;
    close_ring();
    from->prev = head_.prev;
    head_.prev->next = from;
    last->next = &head_;
    head_.prev = last;
}
