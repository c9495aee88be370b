// Session: the process's connection to the engine, as the Python module sees it.
//
// There is at most one live runtime. References and handles of an ended session stay valid Python objects that refuse
// use: they know its number. Every function here is called with the GIL; whatever may wait releases it.

#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/runtime.h"

namespace ray_engine::python {

namespace nb = nanobind;

// The hooks that Python gave to connect(). Borrowed for ever: they are module functions.
struct Hooks {
  PyObject* dumps = nullptr;
  PyObject* loads = nullptr;
  PyObject* load_function = nullptr;
  PyObject* load_class = nullptr;
  PyObject* make_error = nullptr;
  PyObject* system_error = nullptr;
  PyObject* raise_task_error = nullptr;
  PyObject* driver_line = nullptr;
  PyObject* unseen_error = nullptr;
};

extern Runtime* live_runtime;  // null outside of sessions
// Another one after each connect() and each disconnect(); never kNoSession.
extern std::uint32_t session_number;
inline constexpr std::uint32_t kNoSession = 0;
extern Hooks hooks;
// Cancels a call of this process's async actor; set by the worker's part.
extern void (*cancel_method)(const TaskId& task);
// Makes the thread for calls of this process's actor in the system group; set by the worker's part.
extern void (*start_system_thread)();

// The methods of this process's actor run in event loops, which switch between them.
extern bool runs_coroutines;
// Tells the runtime which of them the calling thread is in, so that what it submits is known as that one's child.
void EnterCoroutine();

// Starts a session if the program has not; raises RaySystemError if there is none then.
Runtime& StartedRuntime();
inline Runtime& TheRuntime() { return live_runtime != nullptr ? *live_runtime : StartedRuntime(); }
// Raises what hooks.system_error makes of it.
[[noreturn]] void RaiseSystemError(std::string_view kind, std::string_view text, std::string_view detail = {});
inline std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }
// Asks the head and waits for the reply.
template <class Reply, class Request>
Reply CallHead(const Request& request) {
  absl::StatusOr<Reply> reply = absl::UnknownError("");
  Runtime& runtime = TheRuntime();
  {
    const nb::gil_scoped_release release;
    reply = runtime.Call<Reply>(kHead, request);
  }
  if (!reply.ok()) RaiseSystemError("RaySystemError", MessageOf(reply.status()));
  return *std::move(reply);
}

// ---- dictionaries --------------------------------------------------------------------------------------------------

// Resources by name, and back.
ResourceSet ResourcesFrom(const nb::dict& amounts);
nb::dict ToDict(const ResourceSet& set);
// Sorted, so that equal dictionaries are equal bytes.
std::vector<std::pair<std::string, std::string>> TextsFrom(const nb::dict& texts);

// For kInterrupted: runs signal handlers, which may raise.
void CheckSignals();

}  // namespace ray_engine::python
