// A balanced binary tree whose links live in the element, so that inserting cannot fail.
//
// Height-balanced after Adelson-Velsky and Landis (Knuth, TAOCP vol. 3, 6.2.3), with parent
// pointers, so that no operation recurses or needs a stack. An element may carry a value that is
// computed from its own fields and its children's (the "augmentation": vm_map_tree keeps the
// largest gap of each subtree so); it is right again when insert, erase or changed() returns.
//
// The tree knows no keys. Searching takes a predicate that is false for all elements up to some
// point and true from there on; inserting takes the element that is to follow.
//
// Not locked: the owner's lock guards the whole tree.
#pragma once

#include "lib/assert.h"

#include <cstddef>
#include <cstdint>

struct avl_node {
    avl_node* parent = nullptr;
    avl_node* left = nullptr;
    avl_node* right = nullptr;
    int height = 0; // 1 for a leaf; 0 when in no tree
};

struct no_augmentation {
    template <class T> static bool update(T&, const T*, const T*) { return false; }
    template <class T> static bool correct(const T&, const T*, const T*) { return true; }
};

// Augmentation::update(element, left child, right child) recomputes the element's value and returns
// whether it is another; correct() says whether it is what update() would set.
template <class T, avl_node T::* Node, class Augmentation = no_augmentation> class avl_tree {
public:
    avl_tree() = default;
    avl_tree(const avl_tree&) = delete;

    bool empty() const { return root_ == nullptr; }
    T* root() const { return owner(root_); }
    static T* left(const T& x) { return owner((x.*Node).left); }
    static T* right(const T& x) { return owner((x.*Node).right); }
    static T* parent(const T& x) { return owner((x.*Node).parent); }
    static bool linked(const T& x) { return (x.*Node).height != 0; }

    T* first() const { return root_ ? owner(leftmost(root_)) : nullptr; }
    T* last() const { return root_ ? owner(rightmost(root_)) : nullptr; }

    static T* next(const T& x);
    static T* prev(const T& x);

    // The first element for which `reached` is true; null if there is none.
    template <class Predicate> T* first_where(Predicate reached) const;
    // The last element for which `reached` is still false.
    template <class Predicate> T* last_before(Predicate reached) const;

    // Puts `x` directly before `following`; null: at the end.
    void insert_before(T* following, T& x);

    // Fills the tree, which is empty, with the `count` elements that next() gives in order. Linear.
    template <class Next> void build(size_t count, Next next);

    void erase(T& x);

    // To be called after the fields that the augmentation reads have changed in `x`.
    void changed(T& x) { rebalance_from(&(x.*Node)); }

    // Panics unless links, heights and augmentation are right. Linear.
    void check() const;

private:
    static T* owner(const avl_node* n) {
        if (!n)
            return nullptr;
        // offsetof by pointer to member, on an address that is never dereferenced.
        auto offset =
            reinterpret_cast<uintptr_t>(&(reinterpret_cast<T*>(nowhere)->*Node)) - nowhere;
        return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(n) - offset);
    }
    static int height(const avl_node* n) { return n ? n->height : 0; }
    static avl_node* leftmost(avl_node* n) {
        while (n->left)
            n = n->left;
        return n;
    }
    static avl_node* rightmost(avl_node* n) {
        while (n->right)
            n = n->right;
        return n;
    }
    // What n says of the tree below it; returns whether that is something else now.
    static bool refresh(avl_node* n) {
        const int l = height(n->left), r = height(n->right), before = n->height;
        n->height = (l > r ? l : r) + 1;
        const bool other = Augmentation::update(*owner(n), owner(n->left), owner(n->right));
        return other | (n->height != before);
    }
    void replace_child(avl_node* parent, avl_node* old_child, avl_node* new_child) {
        if (!parent)
            root_ = new_child;
        else if (parent->left == old_child)
            parent->left = new_child;
        else
            parent->right = new_child;
        if (new_child)
            new_child->parent = parent;
    }
    // Lifts n's right child over n; returns the new top.
    avl_node* rotate_left(avl_node* n) {
        avl_node* top = n->right;
        replace_child(n->parent, n, top);
        n->right = top->left;
        if (n->right)
            n->right->parent = n;
        top->left = n;
        n->parent = top;
        refresh(n);
        refresh(top);
        return top;
    }
    avl_node* rotate_right(avl_node* n) {
        avl_node* top = n->left;
        replace_child(n->parent, n, top);
        n->left = top->right;
        if (n->left)
            n->left->parent = n;
        top->right = n;
        n->parent = top;
        refresh(n);
        refresh(top);
        return top;
    }
    // Restores heights, balance and augmentation from `n` up, as far as something changes, and as
    // far as `moved`: those above that have seen another element in its place.
    void rebalance_from(avl_node* n, const avl_node* moved = nullptr) {
        for (bool changed = true; n && (changed || moved); n = n->parent) {
            const bool is_moved = n == moved;
            const int balance = height(n->left) - height(n->right);
            changed = true;
            if (balance > 1) {
                ASSERT(n->left);
                if (height(n->left->left) < height(n->left->right))
                    rotate_left(n->left);
                n = rotate_right(n);
            } else if (balance < -1) {
                ASSERT(n->right);
                if (height(n->right->right) < height(n->right->left))
                    rotate_right(n->right);
                n = rotate_left(n);
            } else {
                changed = refresh(n) || is_moved;
            }
            if (is_moved)
                moved = nullptr;
        }
    }

    static constexpr uintptr_t nowhere = 4096;
    avl_node* root_ = nullptr;
};

template <class T, avl_node T::* Node, class Augmentation>
inline T* avl_tree<T, Node, Augmentation>::next(const T& x) {
    const avl_node* n = &(x.*Node);
    if (n->right)
        return owner(leftmost(n->right));
    while (n->parent && n->parent->right == n)
        n = n->parent;
    return owner(n->parent);
}

template <class T, avl_node T::* Node, class Augmentation>
inline T* avl_tree<T, Node, Augmentation>::prev(const T& x) {
    const avl_node* n = &(x.*Node);
    if (n->left)
        return owner(rightmost(n->left));
    while (n->parent && n->parent->left == n)
        n = n->parent;
    return owner(n->parent);
}

template <class T, avl_node T::* Node, class Augmentation>
template <class Predicate>
inline T* avl_tree<T, Node, Augmentation>::first_where(Predicate reached) const {
    avl_node *n = root_, *best = nullptr;
    while (n) {
        if (reached(const_cast<const T&>(*owner(n)))) {
            best = n;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return owner(best);
}

template <class T, avl_node T::* Node, class Augmentation>
template <class Predicate>
inline T* avl_tree<T, Node, Augmentation>::last_before(Predicate reached) const {
    avl_node *n = root_, *best = nullptr;
    while (n) {
        if (reached(const_cast<const T&>(*owner(n)))) {
            n = n->left;
        } else {
            best = n;
            n = n->right;
        }
    }
    return owner(best);
}

template <class T, avl_node T::* Node, class Augmentation>
inline void avl_tree<T, Node, Augmentation>::insert_before(T* following, T& x) {
    avl_node* n = &(x.*Node);
    ASSERT(n->height == 0);
    *n = avl_node{};
    avl_node* at = following ? &(following->*Node) : nullptr;
    if (!root_) {
        ASSERT(!following);
        root_ = n;
    } else if (at && !at->left) {
        at->left = n;
        n->parent = at;
    } else {
        avl_node* before = rightmost(at ? at->left : root_);
        before->right = n;
        n->parent = before;
    }
    rebalance_from(n);
}

template <class T, avl_node T::* Node, class Augmentation>
template <class Next>
inline void avl_tree<T, Node, Augmentation>::build(size_t count, Next next) {
    ASSERT(!root_);
    // Subtrees under way, the whole one first: of each, its left part comes, then its top, then the
    // rest.
    enum class comes : uint8_t { left, top, nothing };
    struct subtree {
        size_t size;
        avl_node* top = nullptr;
        comes then = comes::left;
    };
    subtree under_way[8 * sizeof(size_t)];
    unsigned depth = 0;
    avl_node* ready = nullptr; // the one that was finished last
    auto begin = [&](size_t size) {
        ready = nullptr;
        if (size != 0)
            under_way[depth++] = {size};
    };
    begin(count);
    while (depth != 0) {
        subtree& at = under_way[depth - 1];
        const size_t on_the_left = at.size / 2;
        switch (at.then) {
        case comes::left:
            at.then = comes::top;
            begin(on_the_left);
            break;
        case comes::top:
            at.then = comes::nothing;
            at.top = &(next().*Node);
            *at.top = avl_node{.left = ready};
            if (ready)
                ready->parent = at.top;
            begin(at.size - 1 - on_the_left);
            break;
        case comes::nothing:
            at.top->right = ready;
            if (ready)
                ready->parent = at.top;
            refresh(at.top);
            ready = at.top;
            depth--;
        }
    }
    root_ = ready;
}

template <class T, avl_node T::* Node, class Augmentation>
inline void avl_tree<T, Node, Augmentation>::erase(T& x) {
    avl_node* n = &(x.*Node);
    ASSERT(n->height != 0);
    if (n->left && n->right) {
        avl_node* successor = leftmost(n->right);
        avl_node* lowest_changed = successor->parent == n ? successor : successor->parent;
        if (successor->parent != n) {
            successor->parent->left = successor->right;
            if (successor->right)
                successor->right->parent = successor->parent;
            successor->right = n->right;
            n->right->parent = successor;
        }
        successor->left = n->left;
        n->left->parent = successor;
        successor->height = n->height; // as it was there
        replace_child(n->parent, n, successor);
        *n = avl_node{};
        rebalance_from(lowest_changed, successor);
    } else {
        avl_node* parent = n->parent;
        replace_child(parent, n, n->left ? n->left : n->right);
        *n = avl_node{};
        rebalance_from(parent);
    }
}

template <class T, avl_node T::* Node, class Augmentation>
inline void avl_tree<T, Node, Augmentation>::check() const {
    ASSERT(!root_ || !root_->parent);
    for (T* x = first(); x; x = next(*x)) {
        const avl_node* n = &(x->*Node);
        ASSERT(!n->left || n->left->parent == n);
        ASSERT(!n->right || n->right->parent == n);
        int l = height(n->left), r = height(n->right);
        ASSERT(n->height == (l > r ? l : r) + 1);
        ASSERT(l - r <= 1 && r - l <= 1);
        ASSERT(Augmentation::correct(*x, owner(n->left), owner(n->right)));
    }
}
