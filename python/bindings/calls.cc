// Calls: TaskCaller (what `f.remote` is), MethodCaller, ActorRef, create_actor, cancel, kill.

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <structmember.h>

#include <algorithm>
#include <memory>

#include "python/bindings/call_args.h"
#include "python/bindings/call_sites.h"
#include "python/bindings/generators.h"
#include "python/bindings/module.h"
#include "python/bindings/slots.h"

namespace ray_engine::python {
namespace {

// ---- options -------------------------------------------------------------------------------------------------------

template <class T>
T Option(const nb::dict& options, const char* name, T fallback) {
  const nb::object value = options.contains(name) ? nb::object(options[name]) : nb::none();
  return value.is_none() ? fallback : nb::cast<T>(value);
}

nb::dict Dictionary(const nb::dict& options, const char* name) { return Option<nb::dict>(options, name, nb::dict()); }

void SetStrategy(const nb::dict& options, LeaseClass* lease_class) {
  if (!options.contains("strategy") || options["strategy"].is_none()) return;
  const nb::object strategy = options["strategy"];
  if (nb::isinstance<nb::str>(strategy)) {
    if (nb::cast<std::string>(strategy) == "SPREAD") lease_class->strategy = LeaseClass::kSpread;
    return;
  }
  const nb::tuple node = nb::cast<nb::tuple>(strategy);  // ("node", hex, soft)
  const nb::bytes id = nb::cast<nb::bytes>(nb::module_::import_("binascii").attr("unhexlify")(node[1]));
  lease_class->strategy = LeaseClass::kNodeAffinity;
  lease_class->soft = nb::cast<bool>(node[2]);
  if (id.size() == NodeId::kSize) lease_class->affinity = NodeId::FromBinary({id.c_str(), id.size()});
}

LeaseClass LeaseClassOf(const nb::dict& options, const char* resources) {
  LeaseClass lease_class;
  lease_class.job = TheRuntime().job();
  lease_class.resources = ResourcesFrom(Dictionary(options, resources));
  lease_class.environment = TextsFrom(Dictionary(options, "environment"));
  lease_class.selector = TextsFrom(Dictionary(options, "selector"));
  lease_class.soft_selector = TextsFrom(Dictionary(options, "soft_selector"));
  if (options.contains("fallbacks")) {
    for (nb::handle fallback : nb::cast<nb::list>(options["fallbacks"])) {
      lease_class.fallbacks.push_back(TextsFrom(nb::cast<nb::dict>(fallback)));
    }
  }
  if (options.contains("group")) {
    const nb::bytes group = nb::cast<nb::bytes>(options["group"]);
    lease_class.group = PlacementGroupId::FromBinary({group.c_str(), group.size()});
  }
  SetStrategy(options, &lease_class);
  return lease_class;
}

void SetReturns(const nb::dict& options, CallOptions* call) {
  call->num_returns = Option<std::uint16_t>(options, "num_returns", 1);
  const auto yields = Option<std::string>(options, "yields", "");
  call->yields = yields == "streaming" ? Yields::kStreaming : yields == "dynamic" ? Yields::kDynamic : Yields::kNo;
  call->stream_limit = Option<std::uint32_t>(options, "stream_limit", 0);
}

// What error messages call the function or method.
nb::object DescribedAs(const nb::dict& options, const std::string& name) {
  return nb::cast(Option<std::string>(options, "describe", name));
}

std::shared_ptr<std::function<bool(const std::string&)>> RetryIf(const nb::dict& options) {
  if (!options.contains("retry_if")) return nullptr;
  PyObject* decide = nb::object(options["retry_if"]).release().ptr();  // lives as long as the options: for ever
  return std::make_shared<std::function<bool(const std::string&)>>([decide](const std::string& error) {
    const nb::gil_scoped_acquire gil;
    try {
      return nb::cast<bool>(nb::borrow(decide)(nb::bytes(error.data(), error.size())));
    } catch (nb::python_error& exception) {
      exception.discard_as_unraisable("retry_exceptions");
      return false;
    }
  });
}

FunctionId FunctionIdFrom(nb::bytes id) { return FunctionId::FromBinary({id.c_str(), FunctionId::kSize}); }

// ---- callers -------------------------------------------------------------------------------------------------------

// Is the number of arguments right? Everything else is left to the check hook.
struct Arity {
  std::int64_t min = 0, max = INT64_MAX;
  nb::object check;

  explicit Arity(const nb::dict& options)
      : min(Option<std::int64_t>(options, "min_args", 0)), max(Option<std::int64_t>(options, "max_args", INT64_MAX)) {
    if (options.contains("check")) check = options["check"];
  }
  void Check(const PassedArgs& args) const {
    const auto count = static_cast<std::int64_t>(args.positional);
    if ((args.named() == 0 && count >= min && count <= max) || !check.is_valid() || check.is_none()) return;
    check(args.Tuple(), args.Dict());
  }
};

nb::object RefsFor(const Submitted& submitted) {
  const ReturnedObjects& returns = submitted.returns;
  if (submitted.stream != nullptr) {
    return nb::cast(ObjectRefGenerator(submitted.stream, ObjectRef(returns[0])));
  }
  if (returns.size() == 1) return NewRef(returns[0]);
  if (returns.empty()) return nb::none();
  nb::list list;
  for (ObjectEntry* entry : returns) list.append(NewRef(entry));
  return list;
}

CallArgs& ScratchArgs() {
  static thread_local CallArgs args;
  return args;
}

void NoteCall(const Submitted& submitted, const char* how) {
  if (!records_call_sites) return;
  for (ObjectEntry* entry : submitted.returns) NoteCallSite(entry, how);
}

void CheckCount(const nb::tuple& args) {
  if (args.size() != 3) Raise(PyExc_TypeError, "a caller is made of what it calls, a name and a dictionary of options");
}

class TaskCaller {
 public:
  static std::unique_ptr<TaskCaller> From(const nb::tuple& args) {
    CheckCount(args);
    return std::make_unique<TaskCaller>(nb::cast<nb::bytes>(args[0]), nb::cast<std::string>(args[1]),
                                        nb::cast<nb::dict>(args[2]));
  }
  TaskCaller(nb::bytes function, const std::string& name, const nb::dict& options)
      : arity_(options), name_(DescribedAs(options, name)) {
    CallOptions call;
    call.function = FunctionIdFrom(function);
    call.name = Option<std::string>(options, "task_name", "");
    if (call.name.empty()) call.name = name;
    SetReturns(options, &call);
    call.captures_children = Option<bool>(options, "captures_children", false);
    call.max_calls = Option<std::uint32_t>(options, "max_calls", 0);
    call.max_retries = Option<std::int32_t>(options, "max_retries", 3);
    call.retry_exceptions = Option<bool>(options, "retry_exceptions", false);
    call.retry_if = RetryIf(options);
    call.lease_class = LeaseClassOf(options, "resources");
    session_ = session_number;
    options_ = TheRuntime().Intern(call);
  }

  nb::object Call(const PassedArgs& args) const {
    Runtime& runtime = TheRuntime();
    if (session_ != session_number)
      RaiseSystemError("RaySystemError", "the function was prepared in a session that has ended");
    arity_.Check(args);
    CallArgs call_args;  // encoding may run Python code that calls again, so the scratch is taken, not shared
    std::swap(call_args, ScratchArgs());
    EncodeArgs(args, *options_, name_, &call_args);
    if (runs_coroutines) EnterCoroutine();
    const Submitted submitted = runtime.Submit(options_, &call_args);
    std::swap(call_args, ScratchArgs());
    NoteCall(submitted, "task call");
    return RefsFor(submitted);
  }

 private:
  Arity arity_;
  nb::object name_;
  std::uint32_t session_;
  CallOptions* options_;
};

// An actor as a handle holds it: by the object that counts the handles, or weakly by its id alone.
class ActorRef {
 public:
  ActorRef(const ActorId& actor, std::optional<ObjectRef> handle) : actor_(actor), handle_(std::move(handle)) {}
  const ActorId& actor() const { return actor_; }
  bool weak() const { return !handle_.has_value(); }
  const ObjectRef& handle() const { return *handle_; }

 private:
  ActorId actor_;
  std::optional<ObjectRef> handle_;
};

class MethodCaller {
 public:
  static std::unique_ptr<MethodCaller> From(const nb::tuple& args) {
    CheckCount(args);
    return std::make_unique<MethodCaller>(nb::cast<const ActorRef&>(args[0]), nb::cast<std::string>(args[1]),
                                          nb::cast<nb::dict>(args[2]));
  }
  MethodCaller(const ActorRef& actor, const std::string& method, const nb::dict& options)
      : actor_(actor.actor(), actor.weak() ? std::nullopt : std::optional<ObjectRef>(actor.handle())),
        arity_(options),
        name_(DescribedAs(options, method)) {
    CallOptions call;
    call.kind = TaskKind::kActorMethod;
    call.name = method;
    call.title = Option<std::string>(options, "name", "");
    SetReturns(options, &call);
    call.concurrency_group = Option<std::uint8_t>(options, "concurrency_group", 0);
    call.out_of_order = Option<bool>(options, "out_of_order", false);
    call.max_pending = Option<std::uint32_t>(options, "max_pending_calls", 0);
    call.max_retries = Option<std::int32_t>(options, "max_task_retries", 0);
    call.retry_exceptions = Option<bool>(options, "retry_exceptions", false);
    call.retry_if = RetryIf(options);
    session_ = session_number;
    options_ = TheRuntime().Intern(call);
  }

  nb::object Call(const PassedArgs& args) const {
    Runtime& runtime = TheRuntime();
    if (session_ != session_number) {
      RaiseSystemError("ActorHandleNotFoundError", "the actor handle belongs to a session that has ended",
                       actor_.actor().Binary());
    }
    arity_.Check(args);
    if (options_->max_pending > 0 && runtime.IsFull(actor_.actor(), options_->max_pending)) RefuseCall();
    CallArgs call_args;
    std::swap(call_args, ScratchArgs());
    EncodeArgs(args, *options_, name_, &call_args);
    if (runs_coroutines) EnterCoroutine();
    const Submitted submitted =
        runtime.SubmitMethod(options_, actor_.actor(), actor_.weak() ? nullptr : actor_.handle().Entry(), &call_args);
    std::swap(call_args, ScratchArgs());
    NoteCall(submitted, "actor call");
    return RefsFor(submitted);
  }

 private:
  [[noreturn]] void RefuseCall() const {
    RaiseSystemError("PendingCallsLimitExceeded",
                     fmt::format("The call of {} was not submitted: {} calls to the actor are pending, as many as its "
                                 "option max_pending_calls allows. Wait for some of their results first.",
                                 options_->name, options_->max_pending));
  }

  ActorRef actor_;
  Arity arity_;
  nb::object name_;
  std::uint32_t session_;
  CallOptions* options_;
};

// An instance in Python. Its type is of CPython's own making, as those of nanobind know no vectorcall.
template <class Caller>
struct CallerObject {
  PyObject head;
  vectorcallfunc call;
  Caller* caller;
};

template <class Caller>
PyObject* CallCaller(PyObject* self, PyObject* const* values, std::size_t count, PyObject* names) {
  const PassedArgs args{values, static_cast<std::size_t>(PyVectorcall_NARGS(count)), names};
  const Caller* caller = reinterpret_cast<CallerObject<Caller>*>(self)->caller;
  return Raising<PyObject*>(nullptr, [&] { return caller->Call(args).release().ptr(); });
}

template <class Caller>
PyObject* NewCaller(PyTypeObject* type, PyObject* args, PyObject*) {
  return Raising<PyObject*>(nullptr, [&] {
    std::unique_ptr<Caller> caller = Caller::From(nb::borrow<nb::tuple>(args));
    auto* made = reinterpret_cast<CallerObject<Caller>*>(type->tp_alloc(type, 0));
    if (made == nullptr) throw nb::python_error();
    made->call = CallCaller<Caller>;
    made->caller = caller.release();
    return reinterpret_cast<PyObject*>(made);
  });
}

template <class Caller>
void DeallocCaller(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete reinterpret_cast<CallerObject<Caller>*>(self)->caller;
  type->tp_free(self);
  Py_DECREF(type);
}

template <class Caller>
void BindCaller(nb::module_& module, const char* name) {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(CallerObject<Caller>, call), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(NewCaller<Caller>)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(DeallocCaller<Caller>)},
                                {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_members, members},
                                {0, nullptr}};
  static const std::string full_name = std::string("ray_engine._core.") + name;
  static PyType_Spec spec = {full_name.c_str(), sizeof(CallerObject<Caller>), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  const nb::object type = nb::steal(PyType_FromSpec(&spec));
  if (!type.is_valid()) throw nb::python_error();
  module.attr(name) = type;
}

// ---- actors --------------------------------------------------------------------------------------------------------

ActorRef CreateActor(nb::bytes class_id, nb::tuple args, nb::dict kwargs, const nb::dict& options) {
  Runtime& runtime = TheRuntime();
  CallOptions call;
  call.kind = TaskKind::kActorCreation;
  call.function = FunctionIdFrom(class_id);
  call.num_returns = 0;
  call.captures_children = Option<bool>(options, "captures_children", false);
  ActorSpec spec;
  spec.actor = runtime.NewActorId();
  spec.class_name = Option<std::string>(options, "class_name", "");
  spec.name = Option<std::string>(options, "name", "");
  spec.name_space = Option<std::string>(options, "namespace", "");
  spec.detached = Option<bool>(options, "detached", false);
  spec.max_restarts = Option<std::int32_t>(options, "max_restarts", 0);
  spec.max_task_retries = Option<std::int32_t>(options, "max_task_retries", 0);
  spec.max_concurrency = Option<std::uint32_t>(options, "max_concurrency", 1);
  for (const auto& [name, count] :
       Option<std::vector<std::pair<std::string, std::uint32_t>>>(options, "concurrency_groups", {})) {
    spec.concurrency_groups.emplace_back(name, count);
  }
  spec.is_async = Option<bool>(options, "is_async", false);
  spec.placement = LeaseClassOf(options, "placement");
  spec.running = ResourcesFrom(Dictionary(options, "running"));
  if (options.contains("handle")) {
    const nb::bytes handle = nb::cast<nb::bytes>(options["handle"]);
    spec.handle = std::string(spec.actor.Binary()) + std::string(handle.c_str(), handle.size());
  }
  const ActorId actor = spec.actor;
  call.name = spec.class_name + ".__init__";
  CallArgs call_args;
  std::vector<PyObject*> values(args.size());
  std::transform(args.begin(), args.end(), values.begin(), [](nb::handle value) { return value.ptr(); });
  for (auto [keyword, value] : kwargs) values.push_back(value.ptr());
  const nb::object names = nb::steal(PySequence_Tuple(kwargs.ptr()));
  if (!names.is_valid()) throw nb::python_error();
  EncodeArgs({values.data(), args.size(), names.ptr()}, call, DescribedAs(options, spec.class_name), &call_args);
  CallOptions* interned = runtime.Intern(call);
  absl::StatusOr<ObjectEntry*> handle = absl::UnknownError("");
  {
    const nb::gil_scoped_release release;
    handle = runtime.CreateActor(interned, &call_args, std::move(spec));
  }
  if (!handle.ok()) throw nb::value_error(std::string(handle.status().message()).c_str());
  return {actor, ObjectRef(*handle)};
}

nb::object GetActor(const std::string& name, const std::string& name_space) {
  const ActorFound found = CallHead<ActorFound>(ActorLookup{0, name, name_space, false});
  if (found.handles.empty()) return nb::none();
  // CreateActor put the actor's id before the description.
  const std::string& bytes = found.handles[0];
  const ActorId actor = ActorId::FromBinary(std::string_view(bytes).substr(0, ActorId::kSize));
  return nb::make_tuple(nb::bytes(bytes.data() + ActorId::kSize, bytes.size() - ActorId::kSize),
                        ActorRef(actor, std::nullopt));
}

void Cancel(const ObjectRef& ref, bool force, bool recursive) {
  // The task id of a method ends in its actor's id, whose last four own bytes are a count; in others they are 0xff.
  const bool is_method = ref.id().Binary().substr(16, 4) != std::string_view("\xff\xff\xff\xff");
  if (force && is_method) throw nb::value_error("force=True is not supported for actor tasks.");
  TheRuntime().Cancel(ref.Entry(), force, recursive);
}

std::vector<std::pair<std::string, std::string>> ListNamedActors(const std::string& name_space) {
  return CallHead<ActorFound>(ActorLookup{0, "", name_space, true}).names;
}

}  // namespace

void BindCalls(nb::module_& module) {
  BindCaller<TaskCaller>(module, "TaskCaller");
  nb::class_<ActorRef>(module, "ActorRef")
      .def(
          "__init__",
          [](ActorRef* self, nb::bytes actor, std::optional<ObjectRef> handle) {
            new (self) ActorRef(ActorId::FromBinary({actor.c_str(), ActorId::kSize}), std::move(handle));
          },
          nb::arg("actor_id"), nb::arg("ref").none() = nb::none())
      .def("id",
           [](const ActorRef& self) {
             return nb::bytes(reinterpret_cast<const char*>(self.actor().data()), ActorId::kSize);
           })
      .def_prop_ro("weak", &ActorRef::weak)
      .def_prop_ro("ref",
                   [](const ActorRef& self) { return self.weak() ? nb::none() : nb::cast(ObjectRef(self.handle())); });
  BindCaller<MethodCaller>(module, "MethodCaller");
  module.def("create_actor", &CreateActor);
  module.def("get_actor", &GetActor);
  module.def("list_named_actors", &ListNamedActors);
  module.def("cancel", &Cancel);
  module.def("kill_actor",
             [](const ActorRef& actor, bool no_restart) { TheRuntime().KillActor(actor.actor(), no_restart); });
}

}  // namespace ray_engine::python
