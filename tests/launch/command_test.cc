#include "engine/launch/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace ray_engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<Command> Parse(std::vector<std::string> arguments) { return ParseCommand(arguments); }
std::string ErrorOf(std::vector<std::string> arguments) {
  return std::string(Parse(std::move(arguments)).status().message());
}

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) : path_(testing::TempDir() + "ray-engine-command-test.conf") {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(CommandTest, EverythingAfterTheScriptBelongsToIt) {
  const auto command = Parse({"--num-cpus", "2", "app.py", "--num-cpus", "x", "--help"});
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(command->form, Command::kRun);
  EXPECT_THAT(command->program, ElementsAre("app.py", "--num-cpus", "x", "--help"));
  EXPECT_EQ(command->options.Number("num-cpus"), 2);
}

TEST(CommandTest, ModulesToo) {
  const auto command = Parse({"--virtual-nodes", "-m", "pkg", "-m", "--version"});
  ASSERT_TRUE(command.ok());
  EXPECT_TRUE(command->IsModule());
  EXPECT_THAT(command->program, ElementsAre("-m", "pkg", "-m", "--version"));
}

TEST(CommandTest, Forms) {
  EXPECT_EQ(Parse({"start", "--num-cpus=2"})->form, Command::kStart);
  EXPECT_EQ(Parse({"--session-name", "s", "start"})->options.Text("session-name"), "s");
  EXPECT_EQ(Parse({"node", "--join=ray-engine/0/s/0"})->form, Command::kNode);
  EXPECT_EQ(Parse({"--solo", "--driver-fd=7"})->form, Command::kSolo);
  EXPECT_EQ(Parse({"sessions"})->form, Command::kSessions);
  EXPECT_EQ(Parse({"--help"})->form, Command::kHelp);
  EXPECT_EQ(Parse({"-h"})->form, Command::kHelp);
  EXPECT_EQ(Parse({"--version"})->form, Command::kVersion);
  EXPECT_EQ(Parse({"-V"})->form, Command::kVersion);
  EXPECT_EQ(Parse({"start", "--help"})->form, Command::kHelp);
  EXPECT_EQ(Parse({"--num-cpus=1", "node", "--join", "auto", "-h"})->form, Command::kHelp);
  EXPECT_EQ(Parse({"sessions", "-V"})->form, Command::kVersion);
  EXPECT_EQ(Parse({"--", "start"})->form, Command::kRun);
}

TEST(CommandTest, AQuestionHasTheWordsAfterItToItself) {
  const auto command = Parse({"--python=python3.12", "list", "actors", "--limit=3", "--help"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->form, Command::kQuestion);
  EXPECT_EQ(command->options.Text("python"), "python3.12");
  EXPECT_THAT(command->program, ElementsAre("list", "actors", "--limit=3", "--help"));
  for (const char* word : {"status", "summary", "memory", "timeline"}) {
    EXPECT_EQ(Parse({word})->form, Command::kQuestion);
  }
}

TEST(CommandTest, Errors) {
  EXPECT_THAT(ErrorOf({}), HasSubstr("--help"));
  EXPECT_THAT(ErrorOf({"-m"}), HasSubstr("module"));
  EXPECT_THAT(ErrorOf({"-n", "4", "app.py"}), HasSubstr("'-n'"));
  EXPECT_THAT(ErrorOf({"--num-cpu", "4", "app.py"}), HasSubstr("num-cpus"));
  EXPECT_THAT(ErrorOf({"--num-cpus"}), HasSubstr("--num-cpus"));
  EXPECT_THAT(ErrorOf({"node"}), HasSubstr("--join"));
  EXPECT_THAT(ErrorOf({"--solo"}), HasSubstr("--driver-fd"));
}

TEST(CommandTest, CommandLineThenEnvironmentThenFile) {
  const ConfigFile file("# machine\nnum-cpus = 4\nnode-name = from-file\nlog-dir = logs\n");
  const Variable cpus("RAY_ENGINE_NUM_CPUS", "3"), name("RAY_ENGINE_NODE_NAME", "from-environment");
  const auto command = Parse({"--config", file.path(), "--num-cpus=2", "app.py"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->options.Number("num-cpus"), 2);
  EXPECT_EQ(command->options.Text("node-name"), "from-environment");
  EXPECT_EQ(command->options.Text("log-dir"), "logs");
}

TEST(CommandTest, EnvironmentMayNameTheConfigFile) {
  const ConfigFile file("num-cpus = 4\n");
  const Variable config("RAY_ENGINE_CONFIG", file.path().c_str());
  EXPECT_EQ(Parse({"app.py"})->options.Number("num-cpus"), 4);
}

TEST(CommandTest, WrongEnvironmentIsNamed) {
  const Variable cpus("RAY_ENGINE_NUM_CPUS", "three");
  EXPECT_THAT(ErrorOf({"app.py"}), HasSubstr("RAY_ENGINE_NUM_CPUS"));
}

TEST(CommandTest, InternalOptionsAreNotTakenFromTheEnvironment) {
  const Variable descriptor("RAY_ENGINE_DRIVER_FD", "55");
  EXPECT_FALSE(Parse({"app.py"})->options.Given("driver-fd"));
}

TEST(CommandTest, StrayVariablesAreWarnedAbout) {
  const Variable misspelt("RAY_ENGINE_NUM_CPU", "3"), far("RAY_ENGINE_XYZZY", "1"), ours("RAY_ENGINE_PROGRAM", "x"),
      address("RAY_ENGINE_ADDRESS", "y"), of_tests("RAY_ENGINE_TEST_MARK", "z"), right("RAY_ENGINE_LOG_DIR", "logs");
  const auto command = Parse({"app.py"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_THAT(command->warnings,
              ElementsAre(testing::AllOf(HasSubstr("RAY_ENGINE_NUM_CPU "), HasSubstr("mean RAY_ENGINE_NUM_CPUS?")),
                          testing::AllOf(HasSubstr("RAY_ENGINE_XYZZY "), HasSubstr("--help"))));
}

TEST(CommandTest, ConfigFilesThatCannotBeReadAreNamed) {
  for (const char* path : {"/no/such.conf", "/proc/self", "/proc/self/mem"}) {
    EXPECT_THAT(ErrorOf({"--config", path, "app.py"}), HasSubstr(std::string("cannot read ") + path));
  }
  const ConfigFile empty("");
  EXPECT_TRUE(Parse({"--config", empty.path(), "app.py"}).ok());
}

TEST(CommandTest, WrongConfigFilesAreNamed) {
  EXPECT_THAT(ErrorOf({"--config=/no/such.conf", "app.py"}), HasSubstr("/no/such.conf"));
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{{"num-cpu = 4\n", "num-cpus"},
                                                                                       {"num-cpus = x\n", "num-cpus"},
                                                                                       {"no sense\n", "no sense"},
                                                                                       {"config = a\n", "another"}}) {
    const ConfigFile file(text);
    EXPECT_THAT(ErrorOf({"--config", file.path(), "app.py"}),
                testing::AllOf(HasSubstr(file.path()), HasSubstr(expected)));
  }
}

}  // namespace
}  // namespace ray_engine
