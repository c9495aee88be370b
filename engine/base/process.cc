#include "engine/base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "engine/base/unique_fd.h"

extern char** environ;

namespace ray_engine {
namespace {

std::vector<char*> PointersTo(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Everything the child needs, prepared before the fork: between vfork and exec it shares this memory.
struct Prepared {
  const SpawnRequest* request;
  char** argv;
  char** environment;
  pid_t parent;
  int error_pipe;  // closes when the program runs; the errno comes through if it does not
};

void ResetSignals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction current {};
    if (sigaction(number, nullptr, &current) == 0 && current.sa_handler != SIG_IGN)
      sigaction(number, &standard, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool OpenNullInput() {
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0) return false;
  return null == STDIN_FILENO || (dup2(null, STDIN_FILENO) == STDIN_FILENO && close(null) == 0);
}

// Runs in the child. System calls only.
[[noreturn]] void BecomeProgram(Prepared* prepared) {
  const SpawnRequest& request = *prepared->request;
  if (request.new_session) setsid();
  if (request.new_group) setpgid(0, 0);
  if (request.die_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != prepared->parent) _exit(127);  // it died before we asked
  }
  bool ready = !request.null_input || OpenNullInput();
  ready = ready && (request.directory.empty() || chdir(request.directory.c_str()) == 0);
  for (const int fd : request.inherited_fds) ready = ready && fcntl(fd, F_SETFD, 0) == 0;
  ResetSignals();
  if (ready) execve(prepared->argv[0], prepared->argv, prepared->environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(prepared->error_pipe, &error, sizeof error);
  _exit(127);
}

// The slow way, for kernels without lists of children.
std::vector<pid_t> ChildrenFromScan() {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) continue;
    const pid_t process = std::stoi(name);
    if (ParentOf(process) == getpid()) children.push_back(process);
  }
  return children;
}

std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream list(thread.path() / "children");
    if (!list) return ChildrenFromScan();
    for (pid_t child; list >> child;) children.push_back(child);
  }
  return children;
}

void WaitForChild(std::chrono::milliseconds limit) {
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec wait{seconds.count(), std::chrono::nanoseconds(limit - seconds).count()};
  sigtimedwait(&child_ended, nullptr, &wait);
}

}  // namespace

Environment Environment::OfThisProcess() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      environment.Set(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
  }
  return environment;
}

std::string Environment::Get(const std::string& name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? "" : found->second;
}

void Environment::DropPrefix(std::string_view prefix) {
  auto it = variables_.lower_bound(std::string(prefix));
  while (it != variables_.end() && it->first.compare(0, prefix.size(), prefix) == 0) it = variables_.erase(it);
}

void Environment::Prepend(const std::string& name, const std::string& path) {
  std::string& list = variables_[name];
  if (fmt::format(":{}:", list).find(fmt::format(":{}:", path)) != std::string::npos) return;
  list = list.empty() ? path : path + ":" + list;
}

std::vector<std::string> Environment::Entries() const {
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables_) entries.push_back(name + "=" + value);
  return entries;
}

absl::StatusOr<pid_t> Spawn(const SpawnRequest& request) {
  const std::vector<std::string> entries = request.environment.Entries();
  std::vector<char*> argv = PointersTo(request.argv), environment = PointersTo(entries);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  Prepared prepared{&request, argv.data(), environment.data(), getpid(), writing.get()};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of ours runs in the child
  const pid_t child = vfork();
  if (child == 0) BecomeProgram(&prepared);
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return absl::ErrnoToStatus(fork_error, "cannot start another process");
  writing.Reset();
  int error = 0;
  if (read(reading.get(), &error, sizeof error) <= 0) return child;
  waitpid(child, nullptr, 0);
  return absl::ErrnoToStatus(error, fmt::format("cannot run {}", request.argv[0]));
}

std::string FindProgram(const std::string& name, const std::string& search_path) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  for (std::size_t at = 0; at <= search_path.size();) {
    const std::size_t end = std::min(search_path.find(':', at), search_path.size());
    const std::string folder = search_path.substr(at, end - at);
    const std::string path = (folder.empty() ? "." : folder) + "/" + name;
    if (access(path.c_str(), X_OK) == 0) return path;
    at = end + 1;
  }
  return "";
}

int ExitCodeOf(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

std::string DescribeEnd(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return fmt::format("exited with code {}", WEXITSTATUS(wait_status));
  const char* name = sigabbrev_np(WTERMSIG(wait_status));
  return fmt::format("was killed by signal {} (SIG{})", WTERMSIG(wait_status), name != nullptr ? name : "?");
}

pid_t ParentOf(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');  // the name before it may hold anything
  pid_t parent = -1;
  if (name_end != std::string::npos) sscanf(text.c_str() + name_end, ") %*c %d", &parent);
  return parent;
}

void BecomeSubreaper() { prctl(PR_SET_CHILD_SUBREAPER, 1); }

void KillDescendants(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    for (const pid_t child : Children()) kill(child, SIGKILL);
    pid_t reaped;
    do {
      reaped = waitpid(-1, nullptr, WNOHANG);
    } while (reaped > 0);
    if (reaped < 0 || std::chrono::steady_clock::now() > deadline) return;  // none is left
    WaitForChild(std::chrono::milliseconds(20));
  }
}

}  // namespace ray_engine
