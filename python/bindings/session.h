// Session: the process's connection to the engine, as the Python module sees it.
//
// There is at most one live runtime. References and handles of an ended session stay valid Python objects that refuse
// use. Every function here is called with the GIL; whatever may wait releases it.

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

// One per connect(); never freed, so that late references may look at it.
struct Session {
  std::unique_ptr<Runtime> runtime;  // null once disconnected
};

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

extern Session* current_session;  // null before the first connect()
extern Hooks hooks;
// Cancels a call of this process's async actor; set by the worker's part.
extern void (*cancel_method)(const TaskId& task);
// Makes the thread for calls of this process's actor in the system group; set by the worker's part.
extern void (*start_system_thread)();

// The methods of this process's actor run in event loops, which switch between them.
extern bool runs_coroutines;
// Tells the runtime which of them the calling thread is in, so that what it submits is known as that one's child.
void EnterCoroutine();

// The live runtime; raises RaySystemError if there is none.
Runtime& TheRuntime();
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

// A Python ObjectRef: one hold of an entry, or (entry null) just an id.
class ObjectRef {
 public:
  ObjectRef() = default;
  // Takes over one hold.
  ObjectRef(Session* session, ObjectEntry* entry)
      : session_(session), entry_(entry), id_(entry->id), owner_(entry->owner) {}
  ObjectRef(const ObjectId& id, ProcessId owner) : id_(id), owner_(owner) {}
  ObjectRef(const ObjectRef& other);
  ObjectRef(ObjectRef&& other) noexcept;
  ObjectRef& operator=(const ObjectRef&) = delete;
  ~ObjectRef();

  const ObjectId& id() const { return id_; }
  ProcessId owner() const { return owner_; }
  bool SessionHasEnded() const;
  // The entry; an id alone is looked up with its owner. Raises if its session has ended.
  ObjectEntry* Entry() const;

 private:
  mutable Session* session_ = nullptr;
  mutable ObjectEntry* entry_ = nullptr;
  ObjectId id_;
  ProcessId owner_;
};

// The reference that a Python object is; null: it is none.
const ObjectRef* AsRef(nb::handle value);

// A Python ObjectRefGenerator: what reads the items of a task that yields.
class ObjectRefGenerator {
 public:
  ObjectRefGenerator(Session* session, std::shared_ptr<Stream> stream, ObjectRef completion)
      : session_(session), stream_(std::move(stream)), completion_(std::move(completion)) {}
  ObjectRefGenerator(ObjectRefGenerator&& other) noexcept = default;
  ObjectRefGenerator& operator=(const ObjectRefGenerator&) = delete;
  ~ObjectRefGenerator();

  // The object that ends with the task.
  const ObjectRef& completion() const { return completion_; }
  // The next item, or what becomes ready where there is none. Raises if its session has ended.
  ObjectRef Peek() const;
  // The next item; nothing if the stream has ended or the item is not there yet.
  std::optional<ObjectRef> Take() const;
  bool HasEnded() const;  // and all items have been taken

 private:
  Runtime& TheRuntimeOfThis() const;

  Session* session_;
  std::shared_ptr<Stream> stream_;
  ObjectRef completion_;
};

}  // namespace ray_engine::python
