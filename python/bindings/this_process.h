// What a worker process is: the actor that lives in it, what lists of processes call it, its threads, how it ends.
//
// Called with the GIL.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "python/bindings/session.h"

namespace ray_engine::python {

// Nothing of it is there until an actor has been created here.
struct ThisActor {
  PyObject* instance = nullptr;
  ActorId id;
  std::string class_name, name;
  std::uint32_t restarts = 0;
  std::uint16_t depth = 0;
  ResourceSet resources;
  bool captures_children = false;
  bool threads_by_group = false;  // it has concurrency groups: each thread belongs to one
};
extern ThisActor this_actor;

// How the process ends, once user code has asked for it.
struct ProcessExit {
  bool asked = false;
  bool intended = false;  // an actor is not restarted, and its callers are told the cause
  int code = 0;
  std::string cause;
};
extern ProcessExit process_exit;
// The first to ask says how.
void AskToExit(int code, bool intended, std::string cause);

// Shows the call in lists of processes. `given`: the title is the caller's choice, instead of the method's name.
void ShowCall(std::string_view name, bool given, bool is_method);
void ShowIdle();

// The number of threads that numerical libraries are to use, by the CPUs of a lease that has not been looked at yet.
// True once for each lease.
bool IsNewLease(LeaseId lease);
void SetThreads(const ResourceSet& resources);

// A further thread of this process's actor, for calls of that group.
void StartThread(int group);

inline nb::bytes IdBytes(std::string_view id) { return nb::bytes(id.data(), id.size()); }

}  // namespace ray_engine::python
