#include "engine/launch/lifecycle.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "engine/base/process.h"

namespace ray_engine {
namespace {

bool EndsAJob(int number) { return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT; }

bool EndedWell(int wait_status) { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0; }

}  // namespace

Lifecycle::Action Lifecycle::FinishWith(int code) {
  finished_ = true;
  deadline_.reset();
  return Finish{code};
}

Lifecycle::Actions Lifecycle::EndEngine(int code, Time now, std::chrono::milliseconds patience) {
  code_ = code;
  phase_ = Phase::kEngineToEnd;
  deadline_ = now + patience;
  return {TellEngine{code}};
}

Lifecycle::Actions Lifecycle::OnDriverEnded(int wait_status, Time now) {
  if (finished_) return {};
  driver_ended_ = true;
  return EndEngine(ExitCodeOf(wait_status), now, signalled_ ? kEngineGrace : kEngineEnd);
}

// Of rank 0 it ends the job. Any other rank leaves the job to the rest: with a code other than 0 its launcher would end
// it.
Lifecycle::Actions Lifecycle::Lose(const std::string& what, int code) {
  if (role_ == Role::kMember && code == kEngineLost)
    return {Say{fmt::format("{} {}; the job goes on without it", name_, what)}, FinishWith(0)};
  Actions actions;
  actions.push_back(Say{fmt::format("{} {}; the job ends", name_, what)});
  if (role_ == Role::kDriver && !driver_ended_) actions.push_back(KillDriver{});
  actions.push_back(FinishWith(code));
  return actions;
}

Lifecycle::Actions Lifecycle::OnEngineEnded(int wait_status) {
  if (finished_) return {};
  // A driver that fails because its engine was lost may end first.
  const bool never_ran = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kCannotStart;
  const bool engine_first = driver_ended_ && code_ != 0 && !signalled_ && (WIFSIGNALED(wait_status) || never_ran);
  if (phase_ == Phase::kEngineToEnd && !engine_first) return {FinishWith(code_)};
  const bool has_said_why =
      role_ == Role::kMember && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kEngineCutOff;
  if (role_ != Role::kDriver && (EndedWell(wait_status) || has_said_why)) return {FinishWith(0)};
  return Lose("has lost its engine, which " + DescribeEnd(wait_status), never_ran ? kCannotStart : kEngineLost);
}

Lifecycle::Actions Lifecycle::OnForkserverEnded(int wait_status) {
  // It ends by itself only when the engine that it serves has ended; that one's end counts.
  if (finished_ || phase_ == Phase::kEngineToEnd || EndedWell(wait_status)) return {};
  return Lose("has lost its forkserver, which " + DescribeEnd(wait_status), kEngineLost);
}

Lifecycle::Actions Lifecycle::OnEngineOfNodeGone() {
  if (finished_) return {};
  return {FinishWith(0)};
}

Lifecycle::Actions Lifecycle::OnSignal(int number, bool shared, Time now) {
  if (finished_) return {};
  Actions actions;
  if (role_ == Role::kDriver && !shared && phase_ != Phase::kEngineToEnd) actions.push_back(SignalDriver{number});
  if (!EndsAJob(number)) return actions;
  const bool again = std::exchange(signalled_, true);
  if (phase_ == Phase::kEngineToEnd) {
    deadline_ = std::min(*deadline_, now + (again ? std::chrono::milliseconds(0) : kEngineGrace));
  } else if (role_ == Role::kHead) {
    return EndEngine(0, now, kEngineGrace);
  } else if (phase_ == Phase::kRunning) {
    phase_ = Phase::kDriverToEnd;
    deadline_ = now + kGrace;
  } else {
    deadline_ = now;
  }
  return actions;
}

Lifecycle::Actions Lifecycle::OnLifelineClosed(Time now) {
  if (finished_ || phase_ == Phase::kEngineToEnd) return {};
  return EndEngine(0, now, kEngineEnd);
}

Lifecycle::Actions Lifecycle::OnLauncherGone() {
  if (finished_) return {};
  return Lose("has lost the process that launched it", 128 + SIGTERM);
}

Lifecycle::Actions Lifecycle::OnTime(Time now) {
  if (finished_ || !deadline_ || now < *deadline_) return {};
  if (phase_ == Phase::kDriverToEnd && role_ == Role::kDriver) {
    deadline_ = now + kEngineGrace;  // its end is reported soon
    phase_ = Phase::kDriverKilled;
    code_ = 128 + SIGKILL;
    return {KillDriver{}};
  }
  if (phase_ == Phase::kDriverToEnd) return EndEngine(128 + SIGTERM, now, kEngineGrace);
  return {KillEngine{}, FinishWith(code_)};
}

}  // namespace ray_engine
