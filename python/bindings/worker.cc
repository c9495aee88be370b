// The worker's main loop: takes tasks from the runtime and runs them in this interpreter.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "python/bindings/execution.h"
#include "python/bindings/module.h"
#include "python/bindings/this_process.h"

namespace ray_engine::python {
namespace {

// Tells the head that the actor ends because it wants to.
void SayGoodbye() {
  if (!process_exit.intended || this_actor.id.IsNil()) return;
  const std::string cause = "The actor is dead because its worker process has ended as intended: " + process_exit.cause;
  TheRuntime().Post(kHead, ActorKill{this_actor.id, true, cause, true});
}

// There is nothing to do for a while.
void Rest() {
  if (PyErr_CheckSignals() != 0) PyErr_Clear();  // an interrupt that came too late for its task
  ShowIdle();
}

// Runs in the main thread, and in the further threads of a threaded actor. Returns the exit code of a process that
// leaves by its own decision, or because its actor is not needed any more; None if the session has ended.
std::optional<int> RunWorker(int group) {
  Runtime& runtime = TheRuntime();
  const bool is_main = this_actor.instance == nullptr;
  if (is_main) runtime.SetMainThread(pthread_self());
  while (true) {
    if (group == Executor::kAnyGroup && this_actor.threads_by_group) group = 0;  // from the actor's creation on
    ExecTask* task = nullptr;
    WaitResult result;
    {
      const nb::gil_scoped_release release;
      result = runtime.NextTask(&task, group);
    }
    if (result == WaitResult::kDisconnected) break;
    if (result == WaitResult::kReady)
      RunTask(task);
    else
      Rest();
  }
  if (!is_main || runtime.HasEnded()) return std::nullopt;
  SayGoodbye();
  return process_exit.code;
}

// What a thread of an actor that runs no task may know.
nb::dict ActorAlone() {
  nb::dict task;
  task["task_id"] = nb::none();
  task["actor_id"] = IdBytes(this_actor.id.Binary());
  task["job_id"] = IdBytes(this_actor.id.Binary().substr(12));
  task["attempt"] = 0;
  task["depth"] = this_actor.depth;
  task["name"] = nb::none();
  task["title"] = "";
  task["class_name"] = this_actor.class_name;
  task["actor_name"] = this_actor.name;
  task["restarts"] = this_actor.restarts;
  task["resources"] = ToDict(this_actor.resources);
  task["captures_children"] = this_actor.captures_children;
  task["cancelled"] = false;
  return task;
}

nb::object CurrentTask() {
  const ExecTask* running = RunningTask();
  if (running == nullptr) return this_actor.id.IsNil() ? nb::object(nb::none()) : nb::object(ActorAlone());
  const TaskHeader& header = running->header;
  nb::dict task;
  const bool is_actor = header.kind != TaskKind::kNormal;
  task["task_id"] = IdBytes(header.task.Binary());
  task["actor_id"] = is_actor ? nb::object(IdBytes(header.task.Binary().substr(8))) : nb::none();
  task["job_id"] = IdBytes(header.task.Binary().substr(20));
  task["attempt"] = header.attempt;
  task["depth"] = header.depth;
  TaskView view;
  ParseTask(running->payload, &view);
  task["name"] = std::string(view.name);
  task["title"] = std::string(header.kind == TaskKind::kActorMethod ? view.tail : std::string_view());
  task["function_id"] = IdBytes(header.function.Binary());
  task["class_name"] = is_actor ? this_actor.class_name : std::string();
  task["actor_name"] = this_actor.name;
  task["restarts"] = this_actor.restarts;
  ResourceSet resources = this_actor.resources;
  if (!is_actor) Reader(view.tail)(resources);
  task["resources"] = ToDict(resources);
  task["captures_children"] = is_actor ? this_actor.captures_children : header.captures_children;
  task["cancelled"] = TheRuntime().WasCancelled(running);
  return task;
}

void StartSystemThread() {
  const nb::gil_scoped_acquire gil;
  StartThread(kSystemGroup);
}

}  // namespace

void BindWorker(nb::module_& module) {
  cancel_method = &CancelMethod;
  start_system_thread = &StartSystemThread;
  module.attr("SYSTEM_GROUP") = static_cast<int>(kSystemGroup);
  BindExecution(module);
  module.def("run_worker", &RunWorker, nb::arg("group") = Executor::kAnyGroup);
  module.def("ask_to_exit", &AskToExit, nb::arg("code"), nb::arg("intended"), nb::arg("cause"));
  module.def("set_exit_grace",
             [](std::int64_t milliseconds) { TheRuntime().set_exit_grace(std::chrono::milliseconds(milliseconds)); });
  module.def("current_task", &CurrentTask);
}

}  // namespace ray_engine::python
