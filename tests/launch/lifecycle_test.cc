#include "engine/launch/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace ray_engine {
namespace {

using Role = Lifecycle::Role;
using std::chrono::milliseconds;

int Exited(int code) { return code << 8; }
int Killed(int signal) { return signal; }

// Actions in words.
std::vector<std::string> Words(const Lifecycle::Actions& actions) {
  struct Teller {
    std::string operator()(const Lifecycle::SignalDriver& a) const {
      return "signal driver " + std::to_string(a.number);
    }
    std::string operator()(const Lifecycle::KillDriver&) const { return "kill driver"; }
    std::string operator()(const Lifecycle::TellEngine& a) const { return "tell engine " + std::to_string(a.code); }
    std::string operator()(const Lifecycle::KillEngine&) const { return "kill engine"; }
    std::string operator()(const Lifecycle::Say&) const { return "say"; }
    std::string operator()(const Lifecycle::Finish& a) const { return "finish " + std::to_string(a.code); }
  };
  std::vector<std::string> words;
  for (const auto& action : actions) words.push_back(std::visit(Teller{}, action));
  return words;
}

class LifecycleTest : public testing::Test {
 protected:
  void Pass(milliseconds time) { now_ += time; }
  static auto Are() { return testing::IsEmpty(); }
  template <class... Word>
  static auto Are(Word... words) {
    return testing::ElementsAre(words...);
  }

  Lifecycle::Time now_;
  Lifecycle driver_{Role::kDriver, "rank 0"}, head_{Role::kHead, "this session"}, member_{Role::kMember, "rank 1"};
};

TEST_F(LifecycleTest, EndsWithTheDriversCodeOnceTheEngineHasEnded) {
  EXPECT_THAT(Words(driver_.OnDriverEnded(Exited(7), now_)), Are("tell engine 7"));
  EXPECT_FALSE(driver_.finished());
  EXPECT_THAT(Words(driver_.OnEngineEnded(Exited(0))), Are("finish 7"));
  EXPECT_TRUE(driver_.finished());
  EXPECT_FALSE(driver_.deadline());
}

TEST_F(LifecycleTest, ADriverThatFailsForWantOfItsEngineMayEndFirst) {
  driver_.OnDriverEnded(Exited(1), now_);
  EXPECT_THAT(Words(driver_.OnEngineEnded(Killed(SIGKILL))), Are("say", "finish 70"));
}

TEST_F(LifecycleTest, AnEngineThatCannotStartIsTheReasonEvenIfTheDriverFailsFirst) {
  driver_.OnDriverEnded(Exited(1), now_);
  EXPECT_THAT(Words(driver_.OnEngineEnded(Exited(kCannotStart))), Are("say", "finish 72"));
}

TEST_F(LifecycleTest, ADriverThatIsDoneHasItsCodeEvenIfTheEngineDies) {
  driver_.OnDriverEnded(Exited(0), now_);
  EXPECT_THAT(Words(driver_.OnEngineEnded(Killed(SIGKILL))), Are("finish 0"));
}

TEST_F(LifecycleTest, AKilledDriverGives128AndTheSignal) {
  EXPECT_THAT(Words(driver_.OnDriverEnded(Killed(SIGKILL), now_)), Are("tell engine 137"));
}

TEST_F(LifecycleTest, AnEngineThatDoesNotEndIsKilled) {
  driver_.OnDriverEnded(Exited(3), now_);
  Pass(Lifecycle::kEngineEnd - milliseconds(1));
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are());
  Pass(milliseconds(1));
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are("kill engine", "finish 3"));
}

TEST_F(LifecycleTest, ALostEngineEndsTheJob) {
  EXPECT_THAT(Words(driver_.OnEngineEnded(Killed(SIGKILL))), Are("say", "kill driver", "finish 70"));
  EXPECT_THAT(Words(driver_.OnDriverEnded(Killed(SIGKILL), now_)), Are());
}

TEST_F(LifecycleTest, AnEngineThatCouldNotStartHasACodeOfItsOwn) {
  EXPECT_THAT(Words(driver_.OnEngineEnded(Exited(kCannotStart))), Are("say", "kill driver", "finish 72"));
}

TEST_F(LifecycleTest, ALostForkserverEndsTheJobUnlessItEndsWithItsEngine) {
  EXPECT_THAT(Words(driver_.OnForkserverEnded(Exited(0))), Are());
  EXPECT_THAT(Words(driver_.OnForkserverEnded(Killed(SIGKILL))), Are("say", "kill driver", "finish 70"));
}

TEST_F(LifecycleTest, SignalsGoToTheDriverOnce) {
  EXPECT_THAT(Words(driver_.OnSignal(SIGUSR1, false, now_)), Are("signal driver 10"));
  EXPECT_FALSE(driver_.deadline());
  EXPECT_THAT(Words(driver_.OnSignal(SIGINT, true, now_)), Are()) << "the terminal has given it to the driver";
  EXPECT_TRUE(driver_.deadline());
}

TEST_F(LifecycleTest, ASignalLeavesTheDriverAGrace) {
  EXPECT_THAT(Words(driver_.OnSignal(SIGTERM, false, now_)), Are("signal driver 15"));
  Pass(Lifecycle::kGrace);
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are("kill driver"));
  EXPECT_THAT(Words(driver_.OnDriverEnded(Killed(SIGKILL), now_)), Are("tell engine 137"));
  Pass(Lifecycle::kEngineGrace);
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are("kill engine", "finish 137"));
  EXPECT_LT(Lifecycle::kGrace + Lifecycle::kEngineGrace, milliseconds(5000));
}

TEST_F(LifecycleTest, EndsEvenIfTheDeathOfTheDriverIsNotReported) {
  driver_.OnSignal(SIGTERM, false, now_);
  Pass(Lifecycle::kGrace);
  driver_.OnTime(now_);
  Pass(Lifecycle::kEngineGrace);
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are("kill engine", "finish 137"));
}

TEST_F(LifecycleTest, TheSecondSignalKills) {
  driver_.OnSignal(SIGINT, false, now_);
  EXPECT_THAT(Words(driver_.OnSignal(SIGINT, false, now_)), Are("signal driver 2"));
  EXPECT_THAT(Words(driver_.OnTime(now_)), Are("kill driver"));
}

TEST_F(LifecycleTest, AHeadWithoutDriverEndsBySignalOrLifeline) {
  EXPECT_THAT(Words(head_.OnSignal(SIGTERM, false, now_)), Are("tell engine 0"));
  EXPECT_THAT(Words(head_.OnEngineEnded(Exited(0))), Are("finish 0"));
  Lifecycle solo(Role::kHead, "this session");
  EXPECT_THAT(Words(solo.OnLifelineClosed(now_)), Are("tell engine 0"));
  EXPECT_THAT(Words(solo.OnLifelineClosed(now_)), Are());
  EXPECT_THAT(Words(solo.OnEngineEnded(Exited(0))), Are("finish 0"));
}

TEST_F(LifecycleTest, AMemberEndsWithItsEngine) {
  EXPECT_THAT(Words(member_.OnEngineEnded(Exited(0))), Are("finish 0"));
  Lifecycle lost(Role::kMember, "rank 2");
  EXPECT_THAT(Words(lost.OnEngineEnded(Killed(SIGSEGV))), Are("say", "finish 0")) << "the job goes on";
  Lifecycle without_workers(Role::kMember, "rank 2");
  EXPECT_THAT(Words(without_workers.OnForkserverEnded(Killed(SIGKILL))), Are("say", "finish 0"));
  Lifecycle cut_off(Role::kMember, "rank 2");
  EXPECT_THAT(Words(cut_off.OnEngineEnded(Exited(kEngineCutOff))), Are("finish 0")) << "the engine has said why";
  Lifecycle never_ran(Role::kMember, "rank 2");
  EXPECT_THAT(Words(never_ran.OnEngineEnded(Exited(kCannotStart))), Are("say", "finish 72"));
  Lifecycle guest(Role::kMember, "rank 3");
  EXPECT_THAT(Words(guest.OnEngineOfNodeGone()), Are("finish 0"));
}

TEST_F(LifecycleTest, ASignalledMemberWaitsForTheHeadFirst) {
  EXPECT_THAT(Words(member_.OnSignal(SIGTERM, false, now_)), Are());
  Pass(Lifecycle::kGrace);
  EXPECT_THAT(Words(member_.OnTime(now_)), Are("tell engine 143"));
  Pass(Lifecycle::kEngineGrace);
  EXPECT_THAT(Words(member_.OnTime(now_)), Are("kill engine", "finish 143"));
}

TEST_F(LifecycleTest, WithoutItsLauncherARankEndsAtOnce) {
  EXPECT_THAT(Words(driver_.OnLauncherGone()), Are("say", "kill driver", "finish 143"));
  EXPECT_THAT(Words(member_.OnLauncherGone()), Are("say", "finish 143"));
}

}  // namespace
}  // namespace ray_engine
