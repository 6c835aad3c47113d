// A model of vfork's wait and release (kernel/lifecycle/vfork_wait.cc, fork.cc, exec.cc, exit.cc) for
// spin: docs/models.md.
//
// Follows new_child::wait_for_release, vfork_wait::wait and release, vfork_release, leave_old_program
// and thread_exit. The child executes another program or exits, and the terminal stops it, which its
// parent would undo; or somebody kills the parent, and the child may run for ever.
//
// Property: a parent that returns finds that the child has let go of the address space, and the
// descriptors that exec closes closed; one that is killed ends, whatever its child does; the address
// space ends with its last user and not before; nobody touches the vfork_wait when it is gone, and it
// goes; nobody sleeps for ever.
//
// Wrong, and found:
//   -DRELEASED_FIRST    the child lets its parent go on before it has left the address space
//   -DCLOSED_LATE       ... before it has closed the descriptors
//   -DEXEC_TEARS_DOWN   exec ends the address space that it leaves, whoever else has it
//   -DNO_REFERENCE      the child has no reference of its own to the vfork_wait
//   -DTESTED_UNGUARDED  the parent looks whether it is released, and takes the lock to sleep after it
//   -DKILL_LOOKED_EARLY ... looks whether it is killed before its state says that it sleeps
//   -DNOT_HELD          the terminal's stop signals are not held back from the child
bool parent_has = true, child_has = true; // the address space
bool space_gone;
byte waits = 2;                           // references to the vfork_wait
bool wait_gone;
bool released, lock, queued;              // of the vfork_wait; its lock's
bool asleep;                              // the parent's state
bool killed, returned;
bool closed, executed;
#ifdef NOT_HELD
bool held;
#else
bool held = true; // thread::held
#endif
bool stop_sent, stopped;
byte ended; // of parent and child
bool stays; // the child runs for ever

inline drop_space(mine) {
    atomic {
        mine = false;
        if
        :: !parent_has && !child_has -> assert(!space_gone); space_gone = true
        :: else
        fi
    }
}
inline drop_wait() {
    atomic {
        assert(!wait_gone && waits > 0);
        waits--;
        wait_gone = (waits == 0)
    }
}
inline take() { atomic { !lock -> assert(!wait_gone); lock = true } }
inline let_go() { assert(!wait_gone); lock = false }

proctype parent() {
    bool dies;
    // vfork_wait::wait
#ifdef TESTED_UNGUARDED
    if
    :: released -> goto out
    :: else
    fi;
#endif
    take();
    do
#ifndef TESTED_UNGUARDED
    :: released -> break
    :: !released ->
#else
    ::
#endif
        queued = true; // wait_killable
#ifdef KILL_LOOKED_EARLY
        dies = killed;
        asleep = true;
        let_go();
#else
        asleep = true;
        let_go();
        dies = killed;
#endif
        if
        :: dies -> asleep = false
        :: else -> !asleep
        fi;
        take();
        dies = killed;
        if
        :: !queued || dies -> queued = false; break
        :: else
        fi
    od;
    let_go();
out:
    drop_wait();
    if
    :: !released -> // killed
        assert(killed);
        drop_space(parent_has)
    :: else ->
        assert(!child_has);
        assert(!executed || closed);
        assert(!space_gone);
        returned = true;
        drop_space(parent_has)
    fi;
    ended++
}

inline vfork_release() {
    take();
    released = true;
    queued = false; // wake_all
    asleep = false;
    let_go();
    assert(!wait_gone); // pollers_.notify()
#ifndef NO_REFERENCE
    drop_wait();
#endif
    held = false
}

// A stop is taken on the way to user mode.
inline in_user_mode() {
    if
    :: stop_sent && !held -> stopped = true; !stopped
    :: else
    fi
}

proctype child() {
    in_user_mode();
    assert(!space_gone); // it runs on the parent's pages
    if
    :: stays ->
end_running:
        false
    :: !stays -> executed = true; // execve
#ifdef RELEASED_FIRST
        vfork_release();
#endif
#ifdef EXEC_TEARS_DOWN
        atomic { assert(!space_gone); space_gone = true; child_has = false };
#else
        drop_space(child_has);
#endif
#ifdef CLOSED_LATE
        vfork_release();
#endif
        closed = true
#if !defined(RELEASED_FIRST) && !defined(CLOSED_LATE)
        ;
        vfork_release()
#endif
    :: !stays -> // exit
#ifdef RELEASED_FIRST
        vfork_release();
        drop_space(child_has)
#else
        drop_space(child_has);
        vfork_release()
#endif
    fi;
    in_user_mode();
    ended++
}

proctype killer() {
    killed = true;
    if
    :: asleep -> asleep = false
    :: else
    fi
}

// ^Z, and the shell that continues its child when it is back from vfork.
proctype terminal() {
    stop_sent = true;
end_never_back:
    returned;
end_continuing:
    do
    :: stopped -> stop_sent = false; stopped = false
    od
}

init {
    atomic {
#ifdef NO_REFERENCE
        waits = 1;
#endif
        run parent();
        run child();
        if
        :: run killer()
        :: run killer(); stays = true
        :: run terminal()
        fi
    }
    ended == (stays -> 1 : 2);
    assert(stays || (space_gone && wait_gone))
}
