#include "engine/base/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace ray_engine {
namespace {

SpawnRequest Shell(const std::string& script) {
  SpawnRequest request;
  request.argv = {"/bin/sh", "-c", script};
  request.environment = Environment::OfThisProcess();
  return request;
}

int StatusOf(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// Runs a shell command whose standard output is a pipe.
std::string OutputOf(SpawnRequest request) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  request.argv[2] = "exec >&" + std::to_string(ends[1]) + "; " + request.argv[2];
  request.inherited_fds.push_back(ends[1]);
  const auto child = Spawn(request);
  EXPECT_TRUE(child.ok()) << child.status();
  close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof buffer)) > 0;)
    output.append(buffer, static_cast<std::size_t>(size));
  close(ends[0]);
  EXPECT_EQ(StatusOf(*child), 0);
  return output;
}

TEST(EnvironmentTest, IsChangedBeforeItIsHandedOn) {
  Environment environment;
  for (const char* name : {"OMPI_A", "OMPI_B", "OMPX", "OMP_NUM_THREADS"}) environment.Set(name, "1");
  environment.DropPrefix("OMPI_");
  environment.Prepend("PATHS", "/a");
  environment.Prepend("PATHS", "/b");
  environment.Prepend("PATHS", "/a");
  EXPECT_THAT(environment.Entries(), testing::ElementsAre("OMPX=1", "OMP_NUM_THREADS=1", "PATHS=/b:/a"));
}

TEST(ProcessTest, ChildHasItsEnvironmentFolderAndInput) {
  SpawnRequest request = Shell("echo $GREETING; pwd; cat");
  request.environment.Set("GREETING", "hello");
  request.directory = "/usr";
  request.null_input = true;
  EXPECT_EQ(OutputOf(request), "hello\n/usr\n");
}

TEST(ProcessTest, ChildInheritsOnlyWhatIsNamed) {
  const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(OutputOf(Shell("test -e /proc/self/fd/" + std::to_string(other) + " && echo there; true")), "");
  close(other);
}

TEST(ProcessTest, ChildHasNoSignalBlocked) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const std::string blocked = OutputOf(Shell("grep SigBlk /proc/self/status"));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(blocked, "SigBlk:\t0000000000000000\n");
}

TEST(ProcessTest, ChildLeavesTheSession) {
  SpawnRequest request = Shell("ps -o sid= -p $$");
  request.new_session = true;
  EXPECT_NE(std::stoi(OutputOf(request)), getsid(0));
}

TEST(ProcessTest, SaysWhatCannotBeRun) {
  SpawnRequest request = Shell("");
  request.argv[0] = "/no/such/program";
  const auto child = Spawn(request);
  EXPECT_THAT(std::string(child.status().message()), testing::HasSubstr("/no/such/program"));
}

TEST(ProcessTest, DiesWithItsParent) {
  int life[2], running[2];  // held by the grandchild; written by it once it runs
  ASSERT_EQ(pipe2(life, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(running, O_CLOEXEC), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    SpawnRequest request = Shell("echo >&" + std::to_string(running[1]) + "; exec sleep 1000");
    request.die_with_parent = true;
    request.inherited_fds = {life[1], running[1]};
    char byte;
    _exit(Spawn(request).ok() && read(running[0], &byte, 1) == 1 ? 0 : 1);
  }
  close(life[1]);
  EXPECT_EQ(StatusOf(parent), 0);
  char byte;
  EXPECT_EQ(read(life[0], &byte, 1), 0);  // the grandchild's end is closed too
  for (const int fd : {life[0], running[0], running[1]}) close(fd);
}

TEST(ProcessTest, DescribesEnds) {
  EXPECT_EQ(ExitCodeOf(StatusOf(*Spawn(Shell("exit 7")))), 7);
  const int killed = StatusOf(*Spawn(Shell("kill -9 $$")));
  EXPECT_EQ(ExitCodeOf(killed), 137);
  EXPECT_EQ(DescribeEnd(killed), "was killed by signal 9 (SIGKILL)");
}

TEST(ProcessTest, KillsOrphansToo) {
  const pid_t reaper = fork();  // a process of its own, so that only its descendants are at stake
  if (reaper == 0) {
    sigset_t child_ended;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, nullptr);
    BecomeSubreaper();
    const auto child = Spawn(Shell("(setsid sleep 1000 &) ; sleep 1000 & exit 0"));
    waitpid(*child, nullptr, 0);
    KillDescendants(std::chrono::seconds(10));
    _exit(waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD ? 0 : 1);
  }
  EXPECT_EQ(StatusOf(reaper), 0);
}

TEST(ProcessTest, FindsProgramsAsAShellDoes) {
  EXPECT_EQ(FindProgram("sh", "/nowhere:/bin:/usr/bin"), "/bin/sh");
  EXPECT_EQ(FindProgram("sh", "/nowhere"), "");
  EXPECT_EQ(FindProgram("/bin/sh", ""), "/bin/sh");
}

}  // namespace
}  // namespace ray_engine
