// Two processes on two CPUs that answer each other over a ring: what is the bound for calls between processes.
//
// Prints RESULT {"one_by_one": calls per second, "outstanding_1000": calls per second}. BENCH_SECONDS is how long
// each of the two is measured.

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/perf/ring_end.h"

namespace ray_engine {
namespace {

constexpr std::string_view kCall = "call 567", kReply = "reply678", kEnd = "";

// Moves this process to the first or the last of the CPUs it may use.
void PinTo(bool last) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (!last) break;
  }
  sched_setaffinity(0, sizeof one, &one);
}

void Serve(RingEnd* end) {
  bool ended = false;
  const auto answer = [&](std::string_view call) {
    ended = call == kEnd;
    if (!ended) end->Send(kReply);
  };
  while (!ended) end->Receive(answer, 256);
}

// `count` calls, then their replies.
void Call(RingEnd* end, int count) {
  for (int i = 0; i < count; ++i) end->Send(kCall);
  for (int received = 0; received < count;) received += end->Receive([](std::string_view) {}, 256);
}

double CallsPerSecond(RingEnd* end, int outstanding, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  std::chrono::duration<double> elapsed{0};
  double calls = 0;
  while (elapsed.count() < seconds) {
    Call(end, outstanding);
    calls += outstanding;
    elapsed = Clock::now() - start;
  }
  return calls / elapsed.count();
}

int Main() {
  const char* setting = std::getenv("BENCH_SECONDS");
  const double seconds = setting != nullptr ? std::atof(setting) : 1;
  const Ring ring;
  if (fork() == 0) {
    PinTo(true);
    RingEnd server(ring, 1);
    Serve(&server);
    _exit(0);
  }
  PinTo(false);
  RingEnd caller(ring, 0);
  CallsPerSecond(&caller, 1, seconds / 4);  // warms up
  const double one_by_one = CallsPerSecond(&caller, 1, seconds);
  const double outstanding = CallsPerSecond(&caller, 1000, seconds);
  caller.Send(kEnd);
  wait(nullptr);
  std::printf("RESULT {\"one_by_one\": %.1f, \"outstanding_1000\": %.1f}\n", one_by_one, outstanding);
  return 0;
}

}  // namespace
}  // namespace ray_engine

int main() { return ray_engine::Main(); }
