// Execution: one task of this process, from its arguments to its results.
//
// Called with the GIL, in the thread that runs the task; what belongs to a coroutine, in its loop's thread.

#pragma once

#include "python/bindings/session.h"

namespace ray_engine::python {

// Runs the task, or hands it to the loop of this process's async actor, and answers its caller.
void RunTask(ExecTask* task);
// The task that the calling thread, or coroutine, belongs to; null: none.
const ExecTask* RunningTask();
// Cancels a call of this process's async actor. Called without the GIL.
void CancelMethod(const TaskId& task);
void BindExecution(nb::module_& module);

}  // namespace ray_engine::python
