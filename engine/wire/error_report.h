// Error reports: what goes wrong in a job beside its results, told to the job's driver by kind.
//
// A report travels as a DriverLine, by way of the head, to the driver, which prints it and hands it to the program's
// listeners (python/ray_engine/_private/error_channel.py). The names of the kinds are those that Ray's programs know.
//
// Pure functions.

#pragma once

#include <string>
#include <utility>

#include "engine/wire/messages.h"

namespace ray_engine {

inline constexpr char kWorkerDied[] = "worker_died";
inline constexpr char kExcessQueueing[] = "excess_queueing_warning";

inline DriverLine ErrorReport(const JobId& job, const char* kind, std::string text) {
  return {job, true, "(ray-engine)", std::move(text) + "\n", kind};
}

}  // namespace ray_engine
