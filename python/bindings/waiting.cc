#include "python/bindings/waiting.h"

#include <absl/cleanup/cleanup.h>
#include <fmt/format.h>

#include "engine/base/clock.h"

namespace ray_engine::python {

std::int64_t Deadline(nb::handle timeout) {
  if (timeout.is_none()) return kNever;
  const double seconds = nb::cast<double>(timeout);
  if (seconds < 0 && seconds != -1) {
    throw nb::value_error(fmt::format("the timeout must not be negative, got {}", seconds).c_str());
  }
  if (seconds < 0 || seconds > 1e9) return kNever;
  return NowNs() + static_cast<std::int64_t>(seconds * 1e9);
}

WaitResult WaitFor(const std::vector<ObjectEntry*>& entries, std::size_t count, std::int64_t deadline,
                   bool stop_at_error) {
  Runtime& runtime = TheRuntime();
  return HandlingSignals([&] { return runtime.WaitObjects(entries, count, deadline, stop_at_error); });
}

WaitResult WaitForPins(PinRequest* request, std::int64_t deadline) {
  Runtime& runtime = TheRuntime();
  const absl::Cleanup abandon = [&] { runtime.Abandon(request); };
  return HandlingSignals([&] { return runtime.PinObjects(request, deadline); });
}

void RaiseEnded() { RaiseSystemError("RaySystemError", "the session ended while waiting: the engine is gone"); }

}  // namespace ray_engine::python
