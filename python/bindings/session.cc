// The connection: joining a session and leaving it, and what Python gave us to call.

#include "python/bindings/session.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <utility>

#include "engine/base/version.h"
#include "engine/wire/error_report.h"
#include "python/bindings/module.h"

namespace ray_engine::python {

Runtime* live_runtime = nullptr;
std::uint32_t session_number = 1;
Hooks hooks;
void (*cancel_method)(const TaskId& task) = nullptr;
void (*start_system_thread)() = nullptr;

namespace {
PyObject* auto_init = nullptr;  // called when the API is used before init()
}

Runtime& StartedRuntime() {
  if (auto_init != nullptr) nb::borrow(auto_init)();
  if (live_runtime == nullptr) {
    RaiseSystemError("RaySystemError", "Ray has not been started yet. You can start Ray with 'ray.init()'.");
  }
  return *live_runtime;
}

void RaiseSystemError(std::string_view kind, std::string_view text, std::string_view detail) {
  if (hooks.system_error == nullptr) throw std::runtime_error(std::string(text));
  const nb::object error = nb::borrow(hooks.system_error)(
      nb::str(kind.data(), kind.size()), nb::str(text.data(), text.size()), nb::bytes(detail.data(), detail.size()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

ResourceSet ResourcesFrom(const nb::dict& amounts) {
  ResourceSet set;
  for (auto [name, amount] : amounts) {
    set.Set(nb::cast<std::string>(name), ResourceSet::FromDouble(nb::cast<double>(amount)));
  }
  return set;
}

nb::dict ToDict(const ResourceSet& set) {
  nb::dict dict;
  for (const auto& [name, amount] : set.entries()) dict[nb::str(name.c_str())] = ResourceSet::ToDouble(amount);
  return dict;
}

std::vector<std::pair<std::string, std::string>> TextsFrom(const nb::dict& texts) {
  std::vector<std::pair<std::string, std::string>> sorted;
  for (auto [key, value] : texts) sorted.emplace_back(nb::cast<std::string>(key), nb::cast<std::string>(value));
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

void CheckSignals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

namespace {

void SetHooks(const nb::dict& given) {
  const auto hook = [&given](const char* name) { return nb::object(given[name]).inc_ref().ptr(); };
  hooks.dumps = hook("dumps");
  hooks.loads = hook("loads");
  hooks.load_function = hook("load_function");
  hooks.load_class = hook("load_class");
  hooks.make_error = hook("make_error");
  hooks.system_error = hook("system_error");
  hooks.raise_task_error = hook("raise_task_error");
  hooks.driver_line = hook("driver_line");
  hooks.unseen_error = hook("unseen_error");
}

void PrintDriverLine(const DriverLine& line) {
  if (Py_IsInitialized() == 0) return;
  const nb::gil_scoped_acquire gil;
  try {
    nb::borrow(hooks.driver_line)(line.is_stderr, line.prefix, nb::str(line.text.data(), line.text.size()), line.kind);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("driver_line");
  }
}

void TellUnseenError(const std::string& value) {
  if (Py_IsInitialized() == 0) return;
  const nb::gil_scoped_acquire gil;
  try {
    nb::borrow(hooks.unseen_error)(nb::bytes(value.data() + 1, value.size() - 1));  // without the byte of its kind
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("unseen_error");
  }
}

// Tells the job's driver what has gone wrong.
void ReportError(const std::string& kind, nb::str text) {
  Runtime& runtime = TheRuntime();
  runtime.Post(kHead, ErrorReport(runtime.job(), kind.c_str(), text.c_str()));
}

absl::StatusOr<UniqueFd> OpenSocket(int fd, const std::string& address, const std::string& ray_version) {
  if (fd >= 0) return UniqueFd(fd);
  absl::StatusOr<ControlSocket> socket = ControlSocket::Connect(address);
  if (!socket.ok()) return socket.status();
  Hello hello;
  hello.build = BuildId();
  hello.ray = ray_version;
  hello.python = PythonVersion();
  const absl::Status sent = socket->Send(hello);
  if (!sent.ok()) return sent;
  return socket->TakeFd();
}

nb::dict Describe(const Welcome& welcome) {
  nb::dict info;
  info["node_id"] = nb::bytes(welcome.node.Binary().data(), NodeId::kSize);
  info["worker_id"] = nb::bytes(welcome.worker.Binary().data(), WorkerId::kSize);
  info["node_ip"] = welcome.node_address;
  info["hostname"] = welcome.hostname;
  info["session"] = welcome.session;
  info["socket_name"] = welcome.socket_name;
  info["node_index"] = welcome.node_index;
  return info;
}

// A session of another version is a RuntimeError; what else is in the way a ConnectionError.
nb::dict Connect(int fd, const std::string& address, const std::string& role, const nb::dict& given,
                 const std::string& ray_version) {
  SetHooks(given);
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = absl::UnknownError("");
  {
    const nb::gil_scoped_release release;
    absl::StatusOr<UniqueFd> socket = OpenSocket(fd, address, ray_version);
    runtime = socket.ok() ? Runtime::Join(*std::move(socket), role == "worker",
                                          {PrintDriverLine, cancel_method, start_system_thread, TellUnseenError})
                          : socket.status();
  }
  if (!runtime.ok()) {
    PyErr_SetString(absl::IsFailedPrecondition(runtime.status()) ? PyExc_RuntimeError : PyExc_ConnectionError,
                    std::string(runtime.status().message()).c_str());
    throw nb::python_error();
  }
  live_runtime = runtime->release();
  ++session_number;
  return Describe(live_runtime->welcome());
}

void Disconnect() {
  if (live_runtime == nullptr) return;
  const std::unique_ptr<Runtime> runtime(std::exchange(live_runtime, nullptr));
  ++session_number;
  const nb::gil_scoped_release release;
  runtime->Close();
}

// Waits until what workers have printed so far has been printed here, at most for `seconds`; up to half of that for
// actors that are being created, as they print what goes wrong there.
void FlushOutput(double seconds) {
  Runtime& runtime = TheRuntime();
  const nb::gil_scoped_release release;
  const auto patience = static_cast<std::int64_t>(seconds * 1e9);
  const std::int64_t deadline = NowNs() + patience;
  runtime.WaitForCreations(deadline - patience / 2);
  if (!runtime.Call<OutputFlushed>(kHead, ::ray_engine::FlushOutput{}, deadline).ok()) return;
  runtime.WaitForUpcalls(deadline);
}

}  // namespace

void BindSession(nb::module_& module) {
  module.attr("__version__") = std::string(Version());
  module.attr("__commit__") = std::string(Commit());
  module.attr("ray_version") = std::string(RayVersion());
  module.def("build_id", [] { return std::string(BuildId()); });
  module.def("connect", &Connect, nb::arg("fd") = -1, nb::arg("address") = "", nb::arg("role") = "driver",
             nb::arg("hooks"), nb::arg("ray_version") = std::string(RayVersion()));
  module.def("set_auto_init", [](nb::callable init) { auto_init = init.release().ptr(); });
  module.def("report_error", &ReportError, nb::arg("kind"), nb::arg("text"));
  module.def("flush_output", &FlushOutput, nb::arg("seconds"));
  module.def("disconnect", &Disconnect);
  module.def("is_connected", [] { return live_runtime != nullptr; });
  module.def("stats", [] { return TheRuntime().StatsText(); });
  module.def("set_inline_limit", [](std::size_t bytes) { TheRuntime().set_inline_limit(bytes); });
  module.def("set_lineage_limit", [](std::size_t bytes) { TheRuntime().set_lineage_limit(bytes); });
  module.def("set_job", [](nb::bytes job) { TheRuntime().set_job(JobId::FromBinary({job.c_str(), JobId::kSize})); });
}

}  // namespace ray_engine::python
