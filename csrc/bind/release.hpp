// Computing without the interpreter's lock. Included in bind/ alone.
#pragma once
#include <pybind11/pybind11.h>
#include <unistd.h>

namespace pylm {

/// Lets other Python threads run while it lives. pybind11's own asks for the lock back in a destructor that must not
/// throw; but where the interpreter has ended meanwhile, Python up to 3.13 unwinds a daemon thread that asks, and the
/// whole process aborted. Such a thread sleeps here until the process is gone, as in Python 3.14: nothing of its stack
/// may be destroyed, for that would touch Python's objects.
class Released {
  public:
    Released() : state(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(state);
        } catch (...) {
            for (;;) ::pause();  // leaving this handler would end the process
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

  private:
    PyThreadState* state;
};

}  // namespace pylm
