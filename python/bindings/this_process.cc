#include "python/bindings/this_process.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <utility>

namespace ray_engine::python {

ThisActor this_actor;
ProcessExit process_exit;

namespace {

std::string title_of;         // of the call that the process's title shows; empty: of none
bool title_is_given = false;  // by the caller
LeaseId lease_of_threads{};   // whose CPUs have been looked at last
std::int64_t threads = 1;     // by the CPUs of that lease; the forkserver begins with one

// Of threads that a task with these resources is to use: its whole CPUs, at least one.
std::int64_t ThreadsFor(const ResourceSet& resources) {
  ResourceSet::Amount cpus = 0;  // those of a bundle are there twice, under the group's name too
  for (const auto& [name, amount] : resources.entries()) {
    if (name == "CPU" || name.rfind("CPU_group_", 0) == 0) cpus = std::max(cpus, amount);
  }
  return std::max<std::int64_t>(cpus / ResourceSet::kUnit, 1);
}

PyObject* TitleModule(const char* function) {
  return nb::module_::import_("ray_engine._private.process_title").attr(function).inc_ref().ptr();
}

// What the process is called in lists of processes. Functions take turns, so the title of each is made once.
void ShowProcess(const std::string& name) {
  constexpr std::size_t kMost = 1000;  // programs may give each of their calls a name
  static PyObject* const make = TitleModule("title");
  static PyObject* const show = TitleModule("show");
  static auto& titles = *new absl::flat_hash_map<std::string, nb::object>;  // outlives the interpreter
  if (titles.size() > kMost) titles.clear();
  nb::object& title = titles[name];
  if (!title.is_valid()) title = nb::borrow(make)(nb::bytes(name.data(), name.size()));
  nb::borrow(show)(title);
}

}  // namespace

void AskToExit(int code, bool intended, std::string cause) {
  if (!process_exit.asked) process_exit = {true, intended, code, std::move(cause)};
  TheRuntime().Leave();
}

// Calls of one name in a row share their title.
void ShowCall(std::string_view name, bool given, bool is_method) {
  if (std::exchange(title_is_given, given) == given && title_of == name) return;
  title_of = name;
  ShowProcess(is_method && !given ? this_actor.class_name + "." + title_of : title_of);
}

void ShowIdle() {
  if (title_of.empty() || !TheRuntime().IsIdle()) return;
  title_of.clear();
  ShowProcess(this_actor.class_name.empty() ? "IDLE" : this_actor.class_name);
  nb::module_::import_("ray_engine._private.worker_output").attr("end_lines")();
}

bool IsNewLease(LeaseId lease) { return std::exchange(lease_of_threads, lease) != lease; }

void SetThreads(const ResourceSet& resources) {
  const std::int64_t wanted = ThreadsFor(resources);
  if (std::exchange(threads, wanted) == wanted) return;
  nb::module_::import_("ray_engine._private.allotment").attr("set_threads")(wanted);
}

void StartThread(int group) {
  const nb::object thread = nb::module_::import_("threading").attr("Thread");
  const nb::object loop = nb::module_::import_("ray_engine._core").attr("run_worker");
  thread(nb::arg("target") = loop, nb::arg("args") = nb::make_tuple(group), nb::arg("daemon") = true).attr("start")();
}

}  // namespace ray_engine::python
