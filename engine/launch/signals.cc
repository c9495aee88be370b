#include "engine/launch/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <initializer_list>

namespace ray_engine {
namespace {

sigset_t SetOf(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  return set;
}

sigset_t Handled() { return SetOf({SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}); }
sigset_t Ending() { return SetOf({SIGINT, SIGTERM, SIGHUP, SIGQUIT}); }

}  // namespace

Signals::Signals() {
  sigset_t blocked = Handled();
  const sigset_t handled = blocked;
  sigaddset(&blocked, SIGPIPE);  // a write to nobody is an error there, not an end here
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  fd_.Reset(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::optional<Signals::Arrived> Signals::Next() {
  signalfd_siginfo info{};
  if (read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return Arrived{static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL};
}

Signals::Deadly::Deadly() {
  const sigset_t ending = Ending();
  sigprocmask(SIG_UNBLOCK, &ending, nullptr);
}

Signals::Deadly::~Deadly() {
  const sigset_t ending = Ending();
  sigprocmask(SIG_BLOCK, &ending, nullptr);
}

}  // namespace ray_engine
