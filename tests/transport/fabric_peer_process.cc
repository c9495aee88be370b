#include "tests/transport/fabric_peer_process.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "engine/transport/fabric_settings.h"
#include "engine/transport/ucx_fabric.h"
#include "tests/transport/fabric_recorder.h"

namespace ray_engine {
namespace {

constexpr char kAddressVariable[] = "RAY_ENGINE_TEST_FABRIC_ADDRESS";
constexpr char kSecretVariable[] = "RAY_ENGINE_TEST_FABRIC_SECRET";

std::string ToHex(const std::string& bytes) {
  std::string hex;
  for (const unsigned char byte : bytes) {
    hex.push_back("0123456789abcdef"[byte >> 4]);
    hex.push_back("0123456789abcdef"[byte & 15]);
  }
  return hex;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

void Sleep(Fabric* fabric) {
  if (!fabric->Arm()) return;
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(epoll, EPOLL_CTL_ADD, fabric->EventFd(), &event);
  epoll_wait(epoll, &event, 1, -1);
  close(epoll);
}

void RunPeer(const std::string& address, const std::string& secret) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  FabricRecorder recorder;
  absl::StatusOr<std::unique_ptr<Fabric>> made = MakeUcxFabric({true, ""}, &recorder);
  if (!made.ok()) _exit(1);
  Fabric* fabric = made->get();
  std::string bytes;
  recorder.on_frame = [&](std::uint32_t, const FrameHeader& frame, std::string_view payload) {
    if (frame.type != MessageType::kPullRequest) return fabric->Send(0, TestFrame(1, 0, frame.flags), payload);
    BulkChunk chunk;
    std::memcpy(static_cast<void*>(&chunk), payload.data(), sizeof chunk);
    if (bytes.size() < chunk.total) bytes = PeerBytes(chunk.total);
    fabric->SendBulk(0, chunk, bytes.data() + chunk.offset, [](const absl::Status&) {});
  };
  fabric->Introduce(1, secret);
  if (!fabric->Connect(0, address).ok()) _exit(1);
  fabric->Send(0, TestFrame(1, 0), "here");
  while (recorder.lost.empty()) {
    if (!fabric->Progress()) Sleep(fabric);
  }
  made->reset();
  _exit(0);
}

// Starts this program again, as it was called, with the environment that an engine has.
void RestartWith(const Settings& environment) {
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  std::ifstream command_line("/proc/self/cmdline");
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(command_line, argument, '\0');) arguments.push_back(argument);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execv("/proc/self/exe", pointers.data());
}

// Before main(): what UCX must find in the environment is put there, and a program started as a peer becomes one.
const bool is_test = [] {
  if (const Settings missing = FabricEnvironment(); !missing.empty()) RestartWith(missing);
  const char* address = std::getenv(kAddressVariable);
  if (address != nullptr) RunPeer(FromHex(address), std::getenv(kSecretVariable));
  return true;
}();

}  // namespace

std::string PeerBytes(std::uint64_t total) {
  std::string block;  // of an odd length, so that it lies differently in each chunk
  for (std::uint32_t i = 0; i < 100'003; ++i) block.push_back(static_cast<char>(i * i >> 9));
  std::string bytes;
  bytes.reserve(total + block.size());
  while (bytes.size() < total) bytes += block;
  bytes.resize(total);
  return bytes;
}

FabricPeerProcess::FabricPeerProcess(const std::string& address_of_node_0, const std::string& secret) {
  const std::string address = std::string(kAddressVariable) + "=" + ToHex(address_of_node_0);
  const std::string secret_setting = std::string(kSecretVariable) + "=" + secret;
  std::vector<char*> environment{const_cast<char*>(address.c_str()), const_cast<char*>(secret_setting.c_str())};
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  char name[] = "fabric_peer";
  char* arguments[] = {name, nullptr};
  pid_ = fork();
  if (pid_ == 0) {
    execve("/proc/self/exe", arguments, environment.data());
    _exit(127);
  }
}

void FabricPeerProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  Wait();
}

int FabricPeerProcess::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

}  // namespace ray_engine
