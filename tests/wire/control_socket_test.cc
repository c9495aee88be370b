#include "engine/wire/control_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>

namespace ray_engine {
namespace {

using std::chrono::milliseconds;

std::string UniqueName() {
  static int count = 0;
  return EngineSocketName("control-socket-test-" + std::to_string(getpid()), std::to_string(count++));
}

TEST(ControlSocketTest, PacketsAndDescriptorsArriveInOrder) {
  auto [a, b] = *ControlSocket::Pair();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_TRUE(a.Send(Kill{1, 9}).ok());
  ASSERT_TRUE(a.Send(Refused{"too late"}, {ends[0], ends[1]}).ok());
  close(ends[0]);
  close(ends[1]);

  Kill kill;
  const auto first = b.Receive();
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_TRUE((*first)->As(&kill));
  EXPECT_EQ(kill.signal, 9);
  EXPECT_TRUE((*first)->fds.empty());

  const auto second = b.Receive();
  ASSERT_TRUE(second.ok() && second->has_value());
  Refused refused;
  EXPECT_FALSE((*second)->As(&kill));
  EXPECT_TRUE((*second)->As(&refused));
  EXPECT_EQ(refused.reason, "too late");
  ASSERT_EQ((*second)->fds.size(), 2u);
  const int reading = (*second)->fds[0].get(), writing = (*second)->fds[1].get();
  EXPECT_EQ(fcntl(reading, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(write(writing, "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(reading, &byte, 1), 1);

  EXPECT_FALSE(b.Receive()->has_value());
}

TEST(ControlSocketTest, WhatThePeerSentBeforeItLeftIsStillRead) {
  auto [a, b] = *ControlSocket::Pair();
  ASSERT_TRUE(a.Send(DriverExited{7}).ok());
  a = ControlSocket();
  DriverExited exited;
  EXPECT_TRUE((*b.Receive())->As(&exited));
  EXPECT_EQ(exited.code, 7);
  EXPECT_FALSE(b.Receive().ok());
  EXPECT_FALSE(b.Send(DriverExited{1}).ok());
}

TEST(ControlSocketTest, NeverBlocksAndLosesNothing) {
  auto [a, b] = *ControlSocket::Pair();
  constexpr int kPackets = 3000;
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  for (int i = 0; i < kPackets; ++i) {
    const bool last = i == kPackets - 1;
    ASSERT_TRUE(a.Send(Output{static_cast<std::uint32_t>(i), 1, false, std::string(1000, 'x')},
                       last ? absl::Span<const int>(ends, 1) : absl::Span<const int>())
                    .ok());
  }
  close(ends[0]);
  close(ends[1]);
  EXPECT_TRUE(a.HasBacklog());
  for (std::uint32_t expected = 0; expected < kPackets;) {
    ASSERT_TRUE(a.Flush().ok());
    for (auto packet = b.Receive(); packet->has_value(); packet = b.Receive()) {
      Output output;
      ASSERT_TRUE((*packet)->As(&output));
      ASSERT_EQ(output.serial, expected++);
      EXPECT_EQ((*packet)->fds.size(), expected == kPackets ? 1u : 0u);
    }
  }
  EXPECT_FALSE(a.HasBacklog());
}

TEST(ControlSocketTest, WaitsForAPacketOrGivesUp) {
  auto [a, b] = *ControlSocket::Pair();
  EXPECT_TRUE(absl::IsDeadlineExceeded(b.WaitReceive(milliseconds(1)).status()));
  ASSERT_TRUE(a.Send(Kill{3, 2}).ok());
  EXPECT_EQ(b.WaitReceive(milliseconds(60000))->type, ControlType::kKill);
  a = ControlSocket();
  EXPECT_TRUE(absl::IsUnavailable(b.WaitReceive(milliseconds(60000)).status()));
}

TEST(ControlSocketTest, ConnectsByName) {
  const std::string name = UniqueName();
  EXPECT_FALSE(ControlSocket::Connect(name).ok());
  auto listener = ControlListener::Bind(name);
  ASSERT_TRUE(listener.ok());
  EXPECT_FALSE(listener->Accept().has_value());
  EXPECT_TRUE(absl::IsAlreadyExists(ControlListener::Bind(name).status()));
  auto guest = ControlSocket::Connect(name);
  ASSERT_TRUE(guest.ok());
  ASSERT_TRUE(guest->Send(Hello{}).ok());
  auto host = listener->Accept();
  ASSERT_TRUE(host.has_value());
  EXPECT_EQ((*host->Receive())->type, ControlType::kHello);
}

// Runs `body` as a process of another user; its exit code.
int AsAnotherUser(const std::function<int()>& body) {
  constexpr uid_t kNobody = 65534;
  const pid_t child = fork();
  if (child == 0) _exit(setresuid(kNobody, kNobody, kNobody) == 0 ? body() : 99);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ControlSocketTest, AnotherUserDoesNotGetIn) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be two users";
  const std::string name = UniqueName();
  std::optional<ControlListener> listener = *ControlListener::Bind(name);
  const int code = AsAnotherUser([&name] {
    return absl::IsPermissionDenied(ControlSocket::Connect(name).status()) ? 7 : 1;  // nor does that one trust us
  });
  EXPECT_EQ(code, 7);
  EXPECT_FALSE(listener->Accept()) << "its connection has waited to be accepted";
  const auto own = ControlSocket::Connect(name);
  ASSERT_TRUE(own.ok());
  EXPECT_TRUE(listener->Accept());
}

TEST(ControlSocketTest, NamesThatCannotBeAreErrors) {
  EXPECT_FALSE(ControlSocket::Connect("").ok());
  EXPECT_FALSE(ControlListener::Bind(std::string(200, 'x')).ok());
}

TEST(ControlSocketTest, ListsHeadsOnly) {
  const std::string head = EngineSocketName("listed-" + std::to_string(getpid()), "0");
  const std::string other = EngineSocketName("listed-" + std::to_string(getpid()), "10");
  const auto first = ControlListener::Bind(head), second = ControlListener::Bind(other);
  const std::vector<std::string> listed = ListHeadSockets();
  EXPECT_THAT(listed, testing::Contains(head).Times(1));
  EXPECT_THAT(listed, testing::Not(testing::Contains(other)));
}

}  // namespace
}  // namespace ray_engine
