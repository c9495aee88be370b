// The worker's main loop: takes tasks from the runtime and runs them in this interpreter.

#include <absl/container/flat_hash_map.h>
#include <nanobind/stl/string.h>

#include "python/bindings/module.h"
#include "python/bindings/values.h"

namespace ray_engine::python {
namespace {

absl::flat_hash_map<FunctionId, PyObject*> functions;  // loaded definitions, for the life of the process
PyObject* actor_instance = nullptr;                    // of this process
std::string actor_class_name, actor_name;
std::uint32_t actor_restarts = 0;
ResourceSet actor_resources;
bool actor_captures_children = false;
bool threads_by_group = false;  // of an actor with concurrency groups: each thread belongs to one
int exit_code = 0;              // of the process, once a task has called sys.exit()

nb::bytes IdBytes(std::string_view id) { return nb::bytes(id.data(), id.size()); }

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

PyObject* async_loop = nullptr;                      // an AsyncActorLoop, for an actor with coroutines
absl::flat_hash_map<TaskId, ExecTask*> handed_over;  // the calls that run in it

// One task while it runs.
class Execution : public std::enable_shared_from_this<Execution> {
 public:
  explicit Execution(ExecTask* task) : task_(task), runtime_(TheRuntime()) {}

  // Returns false if the process shall end.
  bool Run() {
    try {
      if (!ParseTask(task_->payload, &view_)) RaiseSystemError("RaySystemError", "a task arrived malformed");
      received_ = runtime_.ReceiveArgs(view_);
      target_ = Target();
      if (!IsMethod()) SetCapture();
      DecodeArgs();
      if (async_loop != nullptr && IsMethod()) return HandOver();
      const nb::object result = Call();
      if (IsStream()) YieldAll(result);
      Succeed(IsStream() ? nb::none() : result);
    } catch (nb::python_error& exception) {
      if (exception.matches(PyExc_SystemExit)) return Exit(exception);
      Fail(exception);
    } catch (const std::exception& exception) {
      FailWith(MakeTextError(exception.what()));
    }
    return true;
  }

 private:
  bool IsMethod() const { return task_->header.kind == TaskKind::kActorMethod; }
  bool IsStream() const { return task_->header.yields == Yields::kStreaming; }
  bool IsCreation() const { return task_->header.kind == TaskKind::kActorCreation; }

  // The group in which the task's children run is kept in Python, as it changes rarely.
  void SetCapture() const {
    static bool captures = false;
    if (!captures && !task_->header.captures_children) return;
    captures = task_->header.captures_children;
    nb::module_::import_("ray_engine._private.placement").attr("capture_by_task")();
  }

  nb::object Call() const {
    PyObject* result = PyObject_Call(target_.ptr(), arguments_.ptr(), keywords_.ptr());
    if (result == nullptr) throw nb::python_error();
    return nb::steal(result);
  }

  nb::object Target() {
    switch (task_->header.kind) {
      case TaskKind::kNormal:
        return Definition(task_->header.function, hooks.load_function);
      case TaskKind::kActorCreation:
        actor_class_name = task_->actor->spec.class_name;
        actor_name = task_->actor->spec.name;
        actor_restarts = task_->actor->incarnation;
        actor_resources = task_->actor->spec.running;
        actor_captures_children = task_->header.captures_children;
        return Definition(task_->header.function, hooks.load_class);
      case TaskKind::kActorMethod:
        break;
    }
    if (actor_instance == nullptr) RaiseSystemError("RaySystemError", "the actor has no instance");
    return nb::getattr(nb::handle(actor_instance), nb::str(view_.name.data(), view_.name.size()));
  }

  void DecodeArgs() {
    const std::size_t positional = view_.args.size() - view_.keywords.size();
    arguments_ = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(positional)));
    if (!view_.keywords.empty()) keywords_ = nb::dict();
    auto ref = received_.begin();
    for (std::size_t i = 0; i < view_.args.size(); ++i) {
      const ArgView& arg = view_.args[i];
      const std::vector<ObjectEntry*> refs(ref, ref + static_cast<std::ptrdiff_t>(arg.refs.size()));
      ref += static_cast<std::ptrdiff_t>(arg.refs.size());
      nb::object value = arg.kind == ArgHeader::kStored ? Stored(refs[0]) : DecodeValue(arg.bytes, nullptr, refs);
      if (i < positional) {
        PyTuple_SET_ITEM(arguments_.ptr(), static_cast<Py_ssize_t>(i), value.release().ptr());
      } else {
        const std::string_view name = view_.keywords[i - positional];
        keywords_[nb::str(name.data(), name.size())] = value;
      }
    }
  }

  // A stored argument comes the way get() brings a value.
  nb::object Stored(ObjectEntry* entry) {
    runtime_.Hold(entry);
    return nb::module_::import_("ray_engine._core").attr("get")(ObjectRef(current_session, entry));
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

  // ---- the end -----------------------------------------------------------------------------------------------------

  void Succeed(nb::object result) {
    if (IsCreation()) {
      actor_instance = result.inc_ref().ptr();
      StartActorThreads();
      return Created("");
    }
    std::vector<EncodedValue> encoded;
    EncodeResults(result, &encoded);
    EndInterrupts();
    std::vector<ValuePieces> values;
    for (EncodedValue& value : encoded) values.push_back(std::move(value.pieces));
    Finish(DoneHeader::kOk, std::move(values));
  }

  void Fail(nb::python_error& exception) {
    const bool cancelled =
        runtime_.WasCancelled(task_) && (exception.matches(PyExc_KeyboardInterrupt) || IsCancelledError(exception));
    cancelled ? FailCancelled() : FailWith(MakeError(exception));
  }

  static bool IsCancelledError(const nb::python_error& exception) {
    return exception.matches(nb::module_::import_("asyncio").attr("CancelledError"));
  }

  void FailWith(const std::string& error) {
    if (IsCreation()) return Created(error);
    FinishAll(DoneHeader::kUserError, "P" + error, false);
  }
  void FailCancelled() {
    FinishAll(DoneHeader::kCancelled, SystemErrorBytes("TaskCancelledError", "", task_->header.task.Binary()), true);
  }
  void FinishAll(DoneHeader::Outcome outcome, const std::string& error, bool is_system_error) {
    EndInterrupts();
    std::vector<ValuePieces> values(task_->header.num_returns);
    for (ValuePieces& value : values) {
      value.is_error = true;
      value.is_system_error = is_system_error;
      value.head = error;
    }
    Finish(outcome, std::move(values));
  }

  void Finish(DoneHeader::Outcome outcome, std::vector<ValuePieces> values) {
    DropPython();
    const nb::gil_scoped_release release;
    runtime_.FinishTask(task_, outcome, std::move(values), received_);
  }
  void Created(const std::string& error) {
    DropPython();
    const nb::gil_scoped_release release;
    runtime_.FinishCreation(task_, error, received_);
  }
  // Arguments must be gone before the reply: what they kept alive is no longer ours then.
  void DropPython() {
    target_.reset();
    arguments_.reset();
    keywords_.reset();
  }

  // sys.exit() and exit_actor() end the process; whoever waits for this task learns it from the process's end.
  bool Exit(nb::python_error& exception) {
    if (IsMethod() || IsCreation()) {
      const ActorId actor = ActorId::FromBinary(task_->header.task.Binary().substr(8));
      runtime_.Post(kHead, ActorKill{actor, true, nb::cast<std::string>(nb::str(exception.value())), true});
    }
    const nb::object code = nb::getattr(exception.value(), "code", nb::none());
    exit_code = code.is_none() ? 0 : nb::isinstance<nb::int_>(code) ? nb::cast<int>(code) : 1;
    return false;
  }

  // A cancellation that came as the task ended must not hit the next one.
  void EndInterrupts() {
    if (task_->header.kind != TaskKind::kNormal || !runtime_.EndInterrupts(task_)) return;
    if (PyErr_CheckSignals() != 0) PyErr_Clear();
  }

  // ---- actors with coroutines or threads ---------------------------------------------------------------------------

  bool HandOver() {
    runtime_.Detach();
    handed_over[task_->header.task] = task_;
    const auto self = shared_from_this();
    const nb::object call = nb::cpp_function([self] { return self->Call(); });
    const nb::object done =
        nb::cpp_function([self](nb::handle result, nb::handle error) { self->Complete(result, error); },
                         nb::arg("result").none(), nb::arg("error").none());
    nb::object emit = nb::none(), wait = nb::none();
    if (IsStream()) {
      emit = nb::cpp_function([self](const nb::object& item) { return self->Yield(item); }, nb::arg("item").none());
      wait = nb::cpp_function([self] { self->AwaitReader(); });
    }
    nb::borrow(async_loop)
        .attr("submit")(IdBytes(task_->header.task.Binary()), call, done, task_->header.concurrency_group, emit, wait);
    return true;
  }

  void Complete(nb::handle result, nb::handle error) {
    handed_over.erase(task_->header.task);
    try {
      if (error.is_none()) return Succeed(nb::borrow(result));
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
      throw nb::python_error();
    } catch (nb::python_error& exception) {
      if (exception.matches(PyExc_SystemExit)) {
        Exit(exception);
        runtime_.EndProcess("the actor has ended itself");
      } else {
        Fail(exception);
      }
    } catch (const std::exception& exception) {
      FailWith(MakeTextError(exception.what()));
    }
  }

  void StartActorThreads() const {
    const ActorSpec& spec = task_->actor->spec;
    if (spec.is_async) {
      async_loop = nb::module_::import_("ray_engine._private.async_actor")
                       .attr("AsyncActorLoop")(spec.max_concurrency, Groups(spec))
                       .release()
                       .ptr();
      return;
    }
    const nb::object thread = nb::module_::import_("threading").attr("Thread");
    const nb::object loop = nb::module_::import_("ray_engine._core").attr("run_worker");
    const auto start = [&](std::uint32_t count, int group) {
      for (std::uint32_t i = 0; i < std::min(count, kMaxThreads); ++i) {
        thread(nb::arg("target") = loop, nb::arg("args") = nb::make_tuple(group), nb::arg("daemon") = true)
            .attr("start")();
      }
    };
    threads_by_group = !spec.concurrency_groups.empty();
    start(std::max(spec.max_concurrency, 1u) - 1, threads_by_group ? 0 : Executor::kAnyGroup);
    for (std::size_t i = 0; i < spec.concurrency_groups.size(); ++i) {
      start(spec.concurrency_groups[i].second, static_cast<int>(i + 1));
    }
  }
  static nb::list Groups(const ActorSpec& spec) {
    nb::list counts;
    for (const auto& [name, count] : spec.concurrency_groups) counts.append(count);
    return counts;
  }

  // ---- results and errors ------------------------------------------------------------------------------------------

  void EncodeResults(const nb::object& result, std::vector<EncodedValue>* values) const {
    const std::uint32_t count = task_->header.num_returns;
    if (count == 0) return;
    if (task_->header.yields == Yields::kDynamic) {
      values->emplace_back(nb::module_::import_("ray_engine._private.generators").attr("collect")(result), Name(),
                           true);
      return;
    }
    if (count == 1) {
      values->emplace_back(result, Name(), true);
      return;
    }
    const nb::object items = nb::steal(PySequence_List(result.ptr()));
    if (!items.is_valid()) throw nb::python_error();
    if (nb::len(items) != count) {
      PyErr_Format(PyExc_ValueError, "Task returned %zu objects, but num_returns=%u.", nb::len(items), count);
      throw nb::python_error();
    }
    for (nb::handle item : items) values->emplace_back(item, Name(), true);
  }

  nb::object Name() const {
    std::string name(view_.name);
    if (IsMethod()) name = actor_class_name + "." + name;
    return nb::cast(name);
  }

  std::string MakeError(nb::python_error& exception) const {
    const nb::object traceback = exception.traceback().is_valid() ? nb::borrow(exception.traceback()) : nb::none();
    return Encode(nb::borrow(exception.value()), traceback);
  }
  std::string MakeTextError(const char* text) const {
    return Encode(nb::borrow(PyExc_RuntimeError)(nb::str(text)), nb::none());
  }
  std::string Encode(nb::object exception, nb::object traceback) const {
    const nb::bytes bytes = nb::cast<nb::bytes>(nb::borrow(hooks.make_error)(exception, Name(), traceback));
    return {bytes.c_str(), bytes.size()};
  }

  static constexpr std::uint32_t kMaxThreads = 256;

  ExecTask* task_;
  Runtime& runtime_;
  TaskView view_;
  std::vector<ObjectEntry*> received_;
  std::uint32_t yielded_ = 0;
  nb::object target_, arguments_;
  nb::dict keywords_ = nb::steal<nb::dict>(nb::handle());
};

// Runs in the main thread, and in the further threads of a threaded actor. Returns the exit code of the process.
int RunWorker(int group) {
  Runtime& runtime = TheRuntime();
  if (actor_instance == nullptr) runtime.SetMainThread(pthread_self());
  while (true) {
    if (group == Executor::kAnyGroup && threads_by_group) group = 0;  // from the actor's creation on
    ExecTask* task = nullptr;
    WaitResult result;
    {
      const nb::gil_scoped_release release;
      result = runtime.NextTask(&task, group);
    }
    if (result == WaitResult::kDisconnected) return exit_code;
    if (result == WaitResult::kReady) {
      if (std::make_shared<Execution>(task)->Run()) continue;
      runtime.EndProcess("the actor has ended itself");
      return exit_code;
    }
    if (PyErr_CheckSignals() != 0) PyErr_Clear();  // an interrupt that came too late for its task
  }
}

// The task that runs in this thread, or whose coroutine does; null in a driver.
ExecTask* RunningTask() {
  ExecTask* task = Runtime::Context().task;
  if (task != nullptr || async_loop == nullptr) return task;
  const nb::object id = nb::borrow(async_loop).attr("current")();
  if (id.is_none()) return nullptr;
  const auto bytes = nb::cast<nb::bytes>(id);
  const auto found = handed_over.find(TaskId::FromBinary({bytes.c_str(), bytes.size()}));
  return found == handed_over.end() ? nullptr : found->second;
}

nb::object CurrentTask() {
  ExecTask* const running = RunningTask();
  if (running == nullptr) return nb::none();
  const TaskHeader& header = running->header;
  nb::dict task;
  const bool is_actor = header.kind != TaskKind::kNormal;
  task["task_id"] = IdBytes(header.task.Binary());
  task["actor_id"] = is_actor ? nb::object(IdBytes(header.task.Binary().substr(8))) : nb::none();
  task["job_id"] = IdBytes(header.task.Binary().substr(20));
  task["attempt"] = header.attempt;
  TaskView view;
  ParseTask(running->payload, &view);
  task["name"] = std::string(view.name);
  task["function_id"] = IdBytes(header.function.Binary());
  task["class_name"] = is_actor ? actor_class_name : std::string();
  task["actor_name"] = actor_name;
  task["restarts"] = actor_restarts;
  ResourceSet resources = actor_resources;
  if (!is_actor) Reader(view.resources)(resources);
  task["resources"] = ToDict(resources);
  task["captures_children"] = is_actor ? actor_captures_children : header.captures_children;
  task["cancelled"] = TheRuntime().WasCancelled(running);
  return task;
}

void CancelMethod(const TaskId& task) {
  if (async_loop == nullptr) return;
  const nb::gil_scoped_acquire gil;
  nb::borrow(async_loop).attr("cancel")(IdBytes(task.Binary()));
}

}  // namespace

void BindWorker(nb::module_& module) {
  cancel_method = &CancelMethod;
  module.def("run_worker", &RunWorker, nb::arg("group") = Executor::kAnyGroup);
  module.def("current_task", &CurrentTask);
}

}  // namespace ray_engine::python
