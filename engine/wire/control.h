// Control packets: what supervisor, engine, forkserver and joining processes say over SOCK_SEQPACKET sockets inside a
// node.
//
// One packet is one message: a ControlType and the encoded struct. File descriptors travel beside the packet
// (SCM_RIGHTS). These sockets are for birth and death only; everything else goes through links
// (engine/wire/messages.h).

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/ids.h"

// One message a line, its fields beside it:
// clang-format off

namespace ray_engine {

enum class ControlType : std::uint16_t {
  kEngineUp = 1, kIntroduce, kDriverExited, kHello, kWelcome, kRefused, kFork, kForked, kExited, kOutput, kKill, kFlush,
  kFlushed,
};

#define RAY_ENGINE_CONTROL(name, ...)                        \
  static constexpr ControlType kType = ControlType::k##name; \
  template <class A>                                         \
  void Fields(A& a) {                                        \
    a(__VA_ARGS__);                                          \
  }

// ---- supervisor <-> engine -----------------------------------------------------------------------------------------

struct EngineUp {  // engine -> supervisor: ready; the addresses are exchanged by the bootstrap
  std::string fabric_address;  // empty if the session has one node
  std::string socket_name;     // abstract name without the leading NUL
  NodeId node;
  RAY_ENGINE_CONTROL(EngineUp, fabric_address, socket_name, node)
};
struct Introduce {  // supervisor -> engine
  std::uint32_t index = 0, node_count = 1;
  std::string head_fabric_address, secret;
  RAY_ENGINE_CONTROL(Introduce, index, node_count, head_fabric_address, secret)
};
struct DriverExited { std::int32_t code = 0; RAY_ENGINE_CONTROL(DriverExited, code) };  // supervisor -> head engine

// ---- whoever joins <-> engine --------------------------------------------------------------------------------------

struct Hello {  // first packet on a connection to the engine's abstract socket
  enum Kind : std::uint8_t { kDriver = 0, kForkserver = 1, kNode = 2 };
  Kind kind = kDriver;
  std::string build;           // must equal the engine's BuildId()
  std::string ray, python;     // kDriver: versions that must be those of the session; "2.60.0", "3.11"
  std::string fabric_address;  // kNode
  double num_cpus = 0;         // kForkserver: what this rank adds; its socket travels beside the packet
  RAY_ENGINE_CONTROL(Hello, kind, build, ray, python, fabric_address, num_cpus)
};
struct Welcome {  // engine -> process; fds beside it: link segment, store segment, engine eventfd
  std::string build, session;
  ProcessId process;
  WorkerId worker;
  NodeId node;
  std::uint64_t engine_link = 0;   // offset of the link to the engine in the link segment; the process is side 1
  std::uint64_t link_segment_bytes = 0, store_segment_bytes = 0;
  std::string node_address, hostname, socket_name;
  std::uint32_t node_index = 0;
  RAY_ENGINE_CONTROL(Welcome, build, session, process, worker, node, engine_link, link_segment_bytes, store_segment_bytes, node_address,
                     hostname, socket_name, node_index)
};
struct Refused {
  std::string reason;
  bool session_ends = false;  // nothing is wrong: the guest came too late
  bool is_other_version = false;
  RAY_ENGINE_CONTROL(Refused, reason, session_ends, is_other_version)
};

// ---- engine <-> forkserver -----------------------------------------------------------------------------------------

struct Fork {  // engine -> forkserver; the worker's socket (on which its Welcome already waits) travels beside the packet
  std::uint32_t serial = 0;
  JobId job;
  std::string name;  // of the process, for people
  std::vector<std::pair<std::string, std::string>> environment;       // of the tasks
  std::vector<std::pair<std::string, std::string>> node_environment;  // which accelerators the node sees, whoever forks
  std::vector<std::pair<std::string, std::vector<std::uint32_t>>> units;  // AssignedUnits, for the life of the worker
  std::string job_config;  // pickled: sys.path, working directory
  RAY_ENGINE_CONTROL(Fork, serial, job, name, environment, node_environment, units, job_config)
};
struct Forked { std::uint32_t serial = 0, pid = 0; std::string error; RAY_ENGINE_CONTROL(Forked, serial, pid, error) };
struct Exited { std::uint32_t serial = 0, pid = 0; std::int32_t status = 0; RAY_ENGINE_CONTROL(Exited, serial, pid, status) };  // wait status
struct Output {  // forkserver -> engine: whole lines a worker wrote
  std::uint32_t serial = 0, pid = 0;
  bool is_stderr = false;
  std::string text;
  RAY_ENGINE_CONTROL(Output, serial, pid, is_stderr, text)
};
struct Kill { std::uint32_t serial = 0; std::int32_t signal = 9; RAY_ENGINE_CONTROL(Kill, serial, signal) };

struct Flush { std::uint64_t token = 0; RAY_ENGINE_CONTROL(Flush, token) };      // read all that workers have written, then answer
struct Flushed { std::uint64_t token = 0; RAY_ENGINE_CONTROL(Flushed, token) };  // behind the Output packets

}  // namespace ray_engine
