#include "python/bindings/execution.h"

#include <absl/container/flat_hash_map.h>
#include <nanobind/stl/string.h>
#include <sched.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "python/bindings/object_ref.h"
#include "python/bindings/this_process.h"
#include "python/bindings/values.h"
#include "python/bindings/waiting.h"

namespace ray_engine::python {
namespace {

absl::flat_hash_map<FunctionId, PyObject*> functions;  // loaded definitions, for the life of the process
PyObject* current_call = nullptr;                      // context variable: the AsyncCall that a coroutine belongs to
PyObject* async_loop = nullptr;                        // an AsyncActor, for an actor with coroutines

// The function or class of a definition; fetched from the head and loaded once.
nb::object Definition(const FunctionId& id, PyObject* load) {
  PyObject*& known = functions[id];
  if (known == nullptr) {
    absl::StatusOr<KvReply> reply = absl::UnknownError("");
    {
      const nb::gil_scoped_release release;
      reply =
          TheRuntime().Call<KvReply>(kHead, KvRequest{0, KvRequest::kGet, "definitions", std::string(id.Binary()), ""});
    }
    if (!reply.ok() || !reply->found) RaiseSystemError("RaySystemError", "the definition of the task was not exported");
    const std::string& blob = reply->values.at(0);
    const nb::object definition = nb::borrow(load)(IdBytes(id.Binary()), nb::bytes(blob.data(), blob.size()));
    functions[id] = definition.inc_ref().ptr();
    return definition;
  }
  return nb::borrow(known);
}

class Execution;
// A call as the loop of an actor with coroutines has it (ray_engine/_private/async_actor.py).
struct AsyncCall {
  std::shared_ptr<Execution> execution;
};

// One task while it runs.
class Execution : public std::enable_shared_from_this<Execution> {
 public:
  explicit Execution(ExecTask* task) : task_(task), runtime_(TheRuntime()) {}

  void Run() {
    try {
      if (!ParseTask(task_->payload, &view_)) RaiseSystemError("RaySystemError", "a task arrived malformed");
      received_ = runtime_.ReceiveArgs(view_);
      if (!IsMethod()) SetThreads();
      target_ = Target();
      ShowTitle();
      if (!IsMethod()) SetCapture();
      DecodeArgs();
      if (!received_.empty() || task_->payload.size() > kSmallBytes) task_->called_at = Nanoseconds(NowNs());
      if (IsCreation()) CheckGroups(task_->actor->spec);
      if (IsCreation() && task_->actor->spec.is_async) StartLoop();
      if (async_loop != nullptr && IsMethod()) return HandOver();
      const nb::object result = async_loop != nullptr ? CallInLoop() : Call();
      if (IsStream()) YieldAll(result);
      Succeed(IsStream() ? nb::none() : result);
    } catch (const Raised& raised) {
      FinishAll(DoneHeader::kUserError, raised.error);
    } catch (const ArgsLost&) {
      EndInterrupts();
      IsCreation() ? Created("", true) : Finish(DoneHeader::kArgsLost, {});
    } catch (nb::python_error& exception) {
      Fail(exception);
    } catch (const std::exception& exception) {
      Fail(exception);
    }
  }

  // Null once it has ended.
  ExecTask* task() const { return task_; }

  // ---- in the loop of an actor with coroutines, by way of AsyncCall ------------------------------------------------

  nb::object Call() const {
    PyObject* result = PyObject_Call(target_.ptr(), arguments_.ptr(), keywords_.ptr());
    if (result == nullptr) throw nb::python_error();
    return nb::steal(result);
  }

  // A call that was cancelled while it was on its way to the loop, which knew nothing of it then, does not begin.
  nb::object Begin() const {
    if (runtime_.WasCancelled(task_)) {
      PyErr_SetNone(nb::module_::import_("asyncio").attr("CancelledError").ptr());
      throw nb::python_error();
    }
    return Call();
  }

  // Sends one item. False: the reader is too far behind.
  bool Yield(const nb::object& item) {
    EncodedValue encoded(item, Name(), true);
    const nb::gil_scoped_release release;
    return runtime_.YieldItem(task_, yielded_++, std::move(encoded.pieces));
  }

  void AwaitReader() const {
    while (true) {
      WaitResult result;
      {
        const nb::gil_scoped_release release;
        result = runtime_.WaitForReader(task_, yielded_ - 1);
      }
      CheckSignals();
      if (result == WaitResult::kReady) return;
      if (result == WaitResult::kDisconnected) RaiseSystemError("RaySystemError", "the session has ended");
    }
  }

  void Complete(nb::handle result, nb::handle error) {
    try {
      if (error.is_none()) return Succeed(nb::borrow(result));
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
      throw nb::python_error();
    } catch (nb::python_error& exception) {
      Fail(exception);
    } catch (const std::exception& exception) {
      Fail(exception);
    }
  }

 private:
  bool IsMethod() const { return task_->header.kind == TaskKind::kActorMethod; }
  bool IsStream() const { return task_->header.yields == Yields::kStreaming; }
  bool IsCreation() const { return task_->header.kind == TaskKind::kActorCreation; }

  // The number of threads for the task shows in the environment before any of the program's code is loaded.
  void SetThreads() const {
    const LeaseId lease = IsCreation() ? task_->actor->lease : task_->header.lease;
    if (!IsNewLease(lease)) return;
    ResourceSet resources;
    IsCreation() ? void(resources = task_->actor->spec.running) : Reader(view_.tail)(resources);
    python::SetThreads(resources);
  }

  // The group in which the task's children run is kept in Python, as it changes rarely.
  void SetCapture() const {
    static bool captures = false;
    if (!captures && !task_->header.captures_children) return;
    captures = task_->header.captures_children;
    nb::module_::import_("ray_engine._private.placement").attr("capture_by_task")();
  }

  void ShowTitle() const {
    const bool is_given = IsMethod() && !view_.tail.empty();
    ShowCall(is_given ? view_.tail : view_.name, is_given, IsMethod());
  }

  nb::object Target() {
    switch (task_->header.kind) {
      case TaskKind::kNormal:
        return Definition(task_->header.function, hooks.load_function);
      case TaskKind::kActorCreation:
        this_actor.id = task_->actor->spec.actor;
        this_actor.class_name = task_->actor->spec.class_name;
        this_actor.name = task_->actor->spec.name;
        this_actor.restarts = task_->actor->incarnation;
        this_actor.depth = task_->header.depth;
        this_actor.resources = task_->actor->spec.running;
        this_actor.captures_children = task_->header.captures_children;
        return Definition(task_->header.function, hooks.load_class);
      case TaskKind::kActorMethod:
        break;
    }
    if (this_actor.instance == nullptr) RaiseSystemError("RaySystemError", "the actor has no instance");
    return Method(nb::str(view_.name.data(), view_.name.size()));
  }

  // As the class has it: the instance may have something else under that name.
  static nb::object Method(const nb::str& name) {
    PyTypeObject* type = Py_TYPE(this_actor.instance);
    PyObject* found = _PyType_Lookup(type, name.ptr());
    if (found == nullptr) return nb::getattr(nb::handle(this_actor.instance), name);
    const descrgetfunc bind = Py_TYPE(found)->tp_descr_get;
    if (bind == nullptr) return nb::borrow(found);
    PyObject* bound = bind(found, this_actor.instance, reinterpret_cast<PyObject*>(type));
    if (bound == nullptr) throw nb::python_error();
    return nb::steal(bound);
  }

  void DecodeArgs() {
    const std::size_t positional = view_.args.size() - view_.keywords.size();
    arguments_ = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(positional)));
    if (!view_.keywords.empty()) keywords_ = nb::dict();
    const nb::object stored = StoredArgs();
    std::size_t next_stored = 0;
    auto ref = received_.begin();
    for (std::size_t i = 0; i < view_.args.size(); ++i) {
      const ArgView& arg = view_.args[i];
      const std::vector<ObjectEntry*> refs(ref, ref + static_cast<std::ptrdiff_t>(arg.refs.size()));
      ref += static_cast<std::ptrdiff_t>(arg.refs.size());
      nb::object value =
          arg.kind == ArgHeader::kStored ? nb::object(stored[next_stored++]) : DecodeValue(arg.bytes, nullptr, refs);
      if (i < positional) {
        PyTuple_SET_ITEM(arguments_.ptr(), static_cast<Py_ssize_t>(i), value.release().ptr());
      } else {
        const std::string_view name = view_.keywords[i - positional];
        keywords_[nb::str(name.data(), name.size())] = value;
      }
    }
  }

  // Stored arguments that are lost are for the task's owner to make again. That may need what this task has been given,
  // or this actor; so the task goes back, and comes again when they are there. A constructor likewise, by way of the
  // head.
  struct ArgsLost {};
  struct Raised {
    std::string error;  // as a result
  };
  bool MustGoBack(const std::vector<ObjectEntry*>& lost) const {
    const auto is_owners = [this](const ObjectEntry* entry) { return entry->owner == task_->owner; };
    return !lost.empty() && std::all_of(lost.begin(), lost.end(), is_owners);
  }

  // Stored arguments come the way get() brings values, all at once: a task that has some and waits for memory for the
  // others would be in the way of another such task.
  nb::object StoredArgs() {
    nb::list refs;
    std::vector<ObjectEntry*> stored;
    auto ref = received_.begin();
    for (const ArgView& arg : view_.args) {
      if (arg.kind == ArgHeader::kStored) {
        if (!(*ref)->is_error) stored.push_back(*ref);
        runtime_.Hold(*ref);
        refs.append(NewRef(*ref));
      }
      ref += static_cast<std::ptrdiff_t>(arg.refs.size());
    }
    if (nb::len(refs) == 0) return nb::none();
    PinRequest request(std::move(stored));  // keeps what is here until get() has it
    WaitForPins(&request, kNever);
    if (request.lost && MustGoBack(runtime_.NotReady(request.entries))) throw ArgsLost();
    return nb::module_::import_("ray_engine._core").attr("get")(refs);
  }

  // ---- items -------------------------------------------------------------------------------------------------------

  void YieldAll(const nb::object& generator) {
    const nb::object iterator = nb::steal(PyObject_GetIter(generator.ptr()));
    if (!iterator.is_valid()) throw nb::python_error();
    while (PyObject* item = PyIter_Next(iterator.ptr())) {
      if (!Yield(nb::steal(item))) AwaitReader();
    }
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
  }

  // All items of a task that returns a generator of them. An exception is the last item, and may be retried.
  void Collect(const nb::object& generator) {
    const auto keep = [this] {
      const nb::object items = nb::module_::import_("ray_engine._private.generators").attr("Items")(yielded_);
      KeepResult(EncodedValue(items, Name(), true));
    };
    try {
      YieldAll(generator);
    } catch (nb::python_error& exception) {
      if (!exception.matches(PyExc_Exception)) throw;
      EndInterrupts();
      const std::string error = "P" + MakeError(exception);
      ++yielded_;  // its owner makes an item of it, unless it is tried again
      keep();
      throw Raised{error};
    }
    keep();
  }

  // The values of a function that yields those it is to return: each is in the store, if it is large, before the next
  // is made. What comes beyond them is said in the worker's output only.
  void KeepYielded(const nb::object& generator) {
    const std::size_t count = task_->header.num_returns;
    const nb::object iterator = nb::steal(PyObject_GetIter(generator.ptr()));
    if (!iterator.is_valid()) throw nb::python_error();
    while (PyObject* item = PyIter_Next(iterator.ptr())) {
      const nb::object held = nb::steal(item);
      if (results_.size() == count) {
        PySys_FormatStderr("Task %S yielded more than its num_returns=%zu values.\n", Name().ptr(), count);
        return;
      }
      KeepResult(EncodedValue(held, Name(), true));
    }
    if (PyErr_Occurred() != nullptr) {
      if (results_.size() < count) throw nb::python_error();
      PyErr_WriteUnraisable(generator.ptr());
    }
    if (results_.size() < count) RaiseWrongCount(results_.size());
  }
  void KeepResult(EncodedValue value) {
    const auto index = static_cast<std::uint32_t>(results_.size() + 1);
    const nb::gil_scoped_release release;
    results_.push_back(runtime_.MakeResult(task_, index, std::move(value.pieces)));
  }
  [[noreturn]] void RaiseWrongCount(std::size_t found) const {
    PyErr_Format(PyExc_ValueError, "Task returned %zu objects, but num_returns=%u.", found, task_->header.num_returns);
    throw nb::python_error();
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  void Succeed(nb::object result) {
    if (task_->leaving) return EndUnanswered();  // though user code may have swallowed what exit_actor() raised
    if (IsCreation()) {
      this_actor.instance = result.inc_ref().ptr();
      if (async_loop == nullptr) StartThreads();
      return Created("");
    }
    if (IsMethod() && async_loop == nullptr && !IsStream() && runtime_.WasCancelled(task_)) return FailCancelled({});
    if (!IsSmall(result.ptr())) task_->returned_at = Nanoseconds(NowNs());
    std::vector<EncodedValue> encoded;
    EncodeResults(result, &encoded);
    EndInterrupts();
    std::vector<ValuePieces> values;
    for (EncodedValue& value : encoded) values.push_back(std::move(value.pieces));
    Finish(DoneHeader::kOk, std::move(values));
  }

  // An interrupt that came later would hit what describes the error, so both begin with their end.
  void Fail(const std::exception& exception) {
    EndInterrupts();
    FailWith(MakeTextError(exception.what()));
  }
  void Fail(nb::python_error& exception) {
    EndInterrupts();
    if (exception.matches(PyExc_SystemExit)) AskForExit(exception);
    if (task_->leaving) return EndUnanswered();
    const bool cancelled = !IsCreation() && (exception.matches(PyExc_KeyboardInterrupt) ||
                                             (runtime_.WasCancelled(task_) && IsCancelledError(exception)));
    cancelled ? FailCancelled(TracebackOf(exception)) : FailWith(MakeError(exception));
  }

  static bool IsCancelledError(const nb::python_error& exception) {
    return exception.matches(nb::module_::import_("asyncio").attr("CancelledError"));
  }

  void FailWith(const std::string& error) {
    if (IsCreation()) {
      nb::module_::import_("ray_engine._private.errors")
          .attr("tell_failed_creation")(nb::bytes(error.data(), error.size()));
      return Created(error);
    }
    FinishAll(DoneHeader::kUserError, "P" + error);
  }
  // The caller sees where it was interrupted, if it was: an actor's method only hears that it is cancelled.
  void FailCancelled(const nb::object& traceback) {
    const nb::object error =
        nb::borrow(hooks.system_error)("TaskCancelledError", "", IdBytes(task_->header.task.Binary()));
    FinishAll(DoneHeader::kCancelled, "P" + Encode(error, traceback.is_valid() ? traceback : nb::none()));
  }
  void FinishAll(DoneHeader::Outcome outcome, const std::string& error) {
    std::vector<ValuePieces> values;
    for (std::size_t i = results_.size(); i < ErrorsUpTo(); ++i) values.push_back(ErrorPieces(error));
    Finish(outcome, std::move(values));
  }
  // A generator that has been collected is a result, and has its error beside it.
  std::size_t ErrorsUpTo() const {
    const std::size_t count = task_->header.num_returns;
    return task_->header.yields == Yields::kDynamic ? results_.size() + 1 : count;
  }
  static ValuePieces ErrorPieces(const std::string& error) {
    ValuePieces pieces;
    pieces.is_error = true;
    pieces.head = error;
    return pieces;
  }

  void Finish(DoneHeader::Outcome outcome, std::vector<ValuePieces> values) {
    DropPython();
    ExecTask* task = std::exchange(task_, nullptr);
    const nb::gil_scoped_release release;
    runtime_.FinishTask(task, outcome, std::move(results_), std::move(values), received_);
  }
  void Created(const std::string& error, bool args_lost = false) {
    DropPython();
    ExecTask* task = std::exchange(task_, nullptr);
    const nb::gil_scoped_release release;
    runtime_.FinishCreation(task, error, args_lost, received_);
  }
  // The task has ended the process; whoever waits for it learns that from the process's end.
  void EndUnanswered() {
    DropPython();
    ExecTask* task = std::exchange(task_, nullptr);
    const nb::gil_scoped_release release;
    runtime_.FinishUnanswered(task, received_);
  }
  // Arguments must be gone before the reply: what they kept alive is no longer ours then.
  void DropPython() {
    target_.reset();
    arguments_.reset();
    keywords_.reset();
  }

  // sys.exit(0) is an intended end; with any other code, or none, the process counts as one that has failed.
  void AskForExit(nb::python_error& exception) {
    const nb::object given = nb::getattr(exception.value(), "code", nb::none());
    const bool has_code = nb::isinstance<nb::int_>(given);
    const int code = given.is_none() ? 0 : has_code ? nb::cast<int>(given) : 1;
    AskToExit(code, has_code && code == 0, "it called sys.exit(0).");
    task_->leaving = true;
  }

  // A cancellation that came as the task ended must not hit the next one.
  void EndInterrupts() {
    if (task_->header.kind != TaskKind::kNormal || !runtime_.EndInterrupts(task_)) return;
    sched_yield();  // a signal that was sent before is delivered at the latest when a system call returns
    if (PyErr_CheckSignals() != 0) PyErr_Clear();
  }

  // ---- actors with coroutines or threads ---------------------------------------------------------------------------

  // The constructor runs in the loop, too; this thread waits for it.
  nb::object CallInLoop() { return nb::borrow(async_loop).attr("construct")(AsyncCall{shared_from_this()}); }

  void HandOver() {
    runtime_.Detach();
    nb::borrow(async_loop)
        .attr("submit")(IdBytes(task_->header.task.Binary()), AsyncCall{shared_from_this()},
                        task_->header.concurrency_group, IsStream());
  }

  void StartLoop() const {
    const ActorSpec& spec = task_->actor->spec;
    async_loop = nb::module_::import_("ray_engine._private.async_actor")
                     .attr("start")(spec.max_concurrency, Groups(spec))
                     .release()
                     .ptr();
    runs_coroutines = true;
  }

  void StartThreads() const {
    const ActorSpec& spec = task_->actor->spec;
    const auto start = [](std::uint32_t count, int group) {
      for (std::uint32_t i = 0; i < std::min(count, kMaxThreads); ++i) StartThread(group);
    };
    this_actor.threads_by_group = !spec.concurrency_groups.empty();
    start(std::max(spec.max_concurrency, 1u) - 1, this_actor.threads_by_group ? 0 : Executor::kAnyGroup);
    for (std::size_t i = 0; i < spec.concurrency_groups.size(); ++i) {
      start(spec.concurrency_groups[i].second, static_cast<int>(i + 1));
    }
  }
  static void CheckGroups(const ActorSpec& spec) {
    for (const auto& [name, count] : spec.concurrency_groups) {
      if (count > 0) continue;
      PyErr_Format(PyExc_ValueError, "max_concurrency must be greater than 0, but the concurrency group '%s' has 0.",
                   name.c_str());
      throw nb::python_error();
    }
  }
  static nb::list Groups(const ActorSpec& spec) {
    nb::list counts;
    for (const auto& [name, count] : spec.concurrency_groups) counts.append(count);
    return counts;
  }

  // ---- results and errors ------------------------------------------------------------------------------------------

  // Does encoding it take no time to speak of?
  static bool IsSmall(PyObject* result) {
    if (PyBytes_CheckExact(result)) return PyBytes_GET_SIZE(result) <= kSmallBytes;
    if (PyUnicode_CheckExact(result)) return PyUnicode_GET_LENGTH(result) <= kSmallBytes;
    return result == Py_None || PyLong_CheckExact(result) || PyFloat_CheckExact(result) || PyBool_Check(result);
  }

  void EncodeResults(const nb::object& result, std::vector<EncodedValue>* values) {
    const std::uint32_t count = task_->header.num_returns;
    if (count == 0) return;
    if (task_->header.yields == Yields::kDynamic) return Collect(result);
    if (task_->header.yields == Yields::kNo && PyGen_Check(result.ptr())) return KeepYielded(result);
    if (count == 1) {
      values->emplace_back(result, Name(), true);
      return;
    }
    const nb::object items = nb::steal(PySequence_List(result.ptr()));
    if (!items.is_valid()) throw nb::python_error();
    if (nb::len(items) != count) RaiseWrongCount(nb::len(items));
    for (nb::handle item : items) values->emplace_back(item, Name(), true);
  }

  nb::object Name() const {
    std::string name(view_.name);
    if (IsMethod()) name = this_actor.class_name + "." + name;
    return nb::cast(name);
  }

  static nb::object TracebackOf(const nb::python_error& exception) {
    return exception.traceback().is_valid() ? nb::borrow(exception.traceback()) : nb::none();
  }
  std::string MakeError(nb::python_error& exception) const {
    return Encode(nb::borrow(exception.value()), TracebackOf(exception));
  }
  std::string MakeTextError(const char* text) const {
    return Encode(nb::borrow(PyExc_RuntimeError)(nb::str(text)), nb::none());
  }
  std::string Encode(nb::object exception, nb::object traceback) const {
    const nb::bytes bytes = nb::cast<nb::bytes>(nb::borrow(hooks.make_error)(exception, Name(), traceback));
    return {bytes.c_str(), bytes.size()};
  }

  static constexpr std::uint32_t kMaxThreads = 256;
  static constexpr int kSmallBytes = 1024;  // of arguments or a result: not worth looking at the clock for

  ExecTask* task_;
  Runtime& runtime_;
  TaskView view_;
  std::vector<ObjectEntry*> received_;
  std::uint32_t yielded_ = 0;
  std::vector<WireValue> results_;  // those made before the task has ended
  nb::object target_, arguments_;
  nb::dict keywords_ = nb::steal<nb::dict>(nb::handle());
};

}  // namespace

bool runs_coroutines = false;

void RunTask(ExecTask* task) { std::make_shared<Execution>(task)->Run(); }

const ExecTask* RunningTask() {
  if (const ExecTask* task = Runtime::Context().task) return task;
  PyObject* value = nullptr;
  if (current_call == nullptr || PyContextVar_Get(current_call, nullptr, &value) != 0 || value == nullptr)
    return nullptr;
  const nb::object held = nb::steal(value);
  return nb::inst_ptr<AsyncCall>(held)->execution->task();
}

void CancelMethod(const TaskId& task) {
  if (async_loop == nullptr) return;
  const nb::gil_scoped_acquire gil;
  nb::borrow(async_loop).attr("cancel")(IdBytes(task.Binary()));
}

void EnterCoroutine() {
  const ExecTask* task = RunningTask();
  Runtime::Context().id = task == nullptr ? TaskId() : task->header.task;
}

void BindExecution(nb::module_& module) {
  current_call = PyContextVar_New("ray_engine_call", nullptr);
  nb::class_<AsyncCall>(module, "AsyncCall")
      // In a context that knows the call from then on.
      .def("run",
           [](nb::handle self) {
             Py_XDECREF(PyContextVar_Set(current_call, self.ptr()));
             return nb::cast<AsyncCall&>(self).execution->Begin();
           })
      .def(
          "done",
          [](const AsyncCall& self, nb::handle result, nb::handle error) { self.execution->Complete(result, error); },
          nb::arg("result").none(), nb::arg("error").none())
      .def(
          "emit", [](const AsyncCall& self, const nb::object& item) { return self.execution->Yield(item); },
          nb::arg("item").none())
      .def("await_reader", [](const AsyncCall& self) { self.execution->AwaitReader(); });
}

}  // namespace ray_engine::python
