// Lifecycle: when a supervisor ends, in which order, and with which code.
//
// Pure state machine: each On...() takes one event and the time and returns what to do. Whatever happens, it leads to
// one Finish within kGrace + kEngineGrace of the event that began the end; the supervisor then kills what is left.
//
//   the driver ends       -> tell the engine -> the engine ends -> finish with the driver's code
//   SIGINT, SIGTERM, ...  -> hand it to the driver; kill the driver after a grace, or at the second signal
//   the engine is lost    -> kill the driver, finish with kEngineLost; a member leaves the job to the others
//   a lifeline closes     -> tell the engine; the launcher itself is lost: finish at once
//
// Loop-bound.

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ray_engine {

// Exit codes of ray-engine that are not a driver's.
inline constexpr int kUsageError = 2, kEngineLost = 70, kCannotStart = 72;
// Exit code of an engine that has lost the head, or was given up by it.
inline constexpr int kEngineCutOff = 71;

class Lifecycle {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kGrace{3000};        // for a driver, after a signal
  static constexpr std::chrono::milliseconds kEngineGrace{1500};  // for an engine, after a signal
  static constexpr std::chrono::milliseconds kEngineEnd{4500};    // for an engine to end in order

  enum class Role {
    kDriver,  // engine and driver: rank 0
    kHead,    // an engine that people or its starter end: start, solo, a node that has joined
    kMember,  // an engine or a forkserver that ends with the session: all other ranks
  };

  struct SignalDriver {
    int number;
  };
  struct KillDriver {};
  struct TellEngine {
    int code;
  };  // the driver has ended
  struct KillEngine {};
  struct Say {
    std::string text;
  };
  struct Finish {
    int code;
  };
  using Action = std::variant<SignalDriver, KillDriver, TellEngine, KillEngine, Say, Finish>;
  using Actions = std::vector<Action>;

  Lifecycle(Role role, std::string rank_name) : role_(role), name_(std::move(rank_name)) {}

  Actions OnDriverEnded(int wait_status, Time now);
  Actions OnEngineEnded(int wait_status);
  Actions OnForkserverEnded(int wait_status);
  // A member without an engine of its own: the engine of its node has ended.
  Actions OnEngineOfNodeGone();
  // `shared`: the terminal has given it to the driver already.
  Actions OnSignal(int number, bool shared, Time now);
  // Who started us and holds our lifeline wants the end, or is gone.
  Actions OnLifelineClosed(Time now);
  Actions OnLauncherGone();
  Actions OnTime(Time now);

  std::optional<Time> deadline() const { return deadline_; }
  bool finished() const { return finished_; }

 private:
  enum class Phase { kRunning, kDriverToEnd, kDriverKilled, kEngineToEnd };

  Actions EndEngine(int code, Time now, std::chrono::milliseconds patience);
  Actions Lose(const std::string& what, int code);
  Action FinishWith(int code);

  Role role_;
  std::string name_;  // "rank 3", for people
  Phase phase_ = Phase::kRunning;
  bool signalled_ = false, finished_ = false, driver_ended_ = false;
  int code_ = 0;
  std::optional<Time> deadline_;
};

}  // namespace ray_engine
