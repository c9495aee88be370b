// Waiting: for values, in the time that a program allows, with signal handlers run meanwhile.
//
// Called with the GIL, which is given up while there is something to wait for.

#pragma once

#include <cstdint>
#include <vector>

#include "python/bindings/session.h"

namespace ray_engine::python {

// Of a timeout in seconds; None and -1: any time. Raises ValueError if it is negative.
std::int64_t Deadline(nb::handle timeout);
// Calls `wait` without the GIL until signals do not interrupt it. Raises what a signal handler does.
template <class Wait>
WaitResult HandlingSignals(const Wait& wait) {
  while (true) {
    WaitResult result;
    {
      const nb::gil_scoped_release release;
      result = wait();
    }
    if (result != WaitResult::kInterrupted) return result;
    CheckSignals();
  }
}
// As Runtime::WaitObjects(). Raises what a signal handler does.
WaitResult WaitFor(const std::vector<ObjectEntry*>& entries, std::size_t count, std::int64_t deadline,
                   bool stop_at_error);
// Waits until all is answered, or as PinObjects() ends; what has not come by then is abandoned. Raises what a signal
// handler does.
WaitResult WaitForPins(PinRequest* request, std::int64_t deadline);
// For WaitResult::kDisconnected.
[[noreturn]] void RaiseEnded();

}  // namespace ray_engine::python
