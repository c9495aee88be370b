#include "engine/base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

using testing::HasSubstr;
using Source = Options::Source;

absl::Status Read(std::vector<std::string> arguments, Options* options, Program program = Program::kLauncher) {
  return ReadCommandLine(arguments, program, options);
}

absl::Status Set(Options* options, std::string_view name, std::string_view value, Source source) {
  return options->Set(*FindOption(name, Program::kLauncher), value, source, name);
}

TEST(OptionsTest, ReadsEveryTypeFromTheCommandLine) {
  Options options;
  ASSERT_TRUE(Read({"--num-cpus=2.5", "--memory", "2G", "--resources", "a=1,b=0.5", "--labels=zone=x",
                    "--virtual-nodes", "--node-name=n1"},
                   &options)
                  .ok());
  EXPECT_EQ(options.Number("num-cpus"), 2.5);
  EXPECT_EQ(options.Bytes("memory"), 2ull << 30);
  EXPECT_EQ(options.Amounts("resources").Get("b"), ResourceSet::kUnit / 2);
  EXPECT_EQ(options.Labels("labels"), (std::vector<std::pair<std::string, std::string>>{{"zone", "x"}}));
  EXPECT_TRUE(options.Flag("virtual-nodes"));
  EXPECT_EQ(options.Text("node-name"), "n1");
}

TEST(OptionsTest, HasDefaults) {
  const Options options;
  EXPECT_FALSE(options.Given("python"));
  EXPECT_EQ(options.Text("python"), "python3");
  EXPECT_FALSE(options.Flag("virtual-nodes"));
}

TEST(OptionsTest, StrongerSourceWinsInAnyOrder) {
  Options options;
  ASSERT_TRUE(Set(&options, "num-cpus", "3", Source::kEnvironment).ok());
  ASSERT_TRUE(Set(&options, "num-cpus", "2", Source::kFile).ok());
  EXPECT_EQ(options.Number("num-cpus"), 3);
  ASSERT_TRUE(Set(&options, "num-cpus", "4", Source::kCommandLine).ok());
  EXPECT_EQ(options.Number("num-cpus"), 4);
}

TEST(OptionsTest, TheLastOfTheCommandLineCounts) {
  Options options;
  ASSERT_TRUE(Read({"--num-cpus=1", "--num-cpus=2"}, &options).ok());
  EXPECT_EQ(options.Number("num-cpus"), 2);
}

TEST(OptionsTest, UnknownOptionNamesTheNearest) {
  Options options;
  const absl::Status status = Read({"--num-cpu=1"}, &options);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--num-cpu;"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'num-cpus'"));
}

TEST(OptionsTest, AnEngineDoesNotKnowTheLaunchersOptions) {
  Options options;
  EXPECT_FALSE(Read({"--exit-file=x"}, &options, Program::kEngine).ok());
  EXPECT_TRUE(Read({"--control-fd=5", "--head"}, &options, Program::kEngine).ok());
  EXPECT_FALSE(Read({"--control-fd=5"}, &options, Program::kLauncher).ok());
}

TEST(OptionsTest, RefusesWrongValuesAndNamesThem) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"num-cpus", "many"},
                                                        {"num-cpus", "-1"},
                                                        {"num-cpus", "99999999999999999999"},
                                                        {"num-gpus", "1e15"},
                                                        {"memory", "200T"},
                                                        {"resources", "a=1e20"},
                                                        {"resources", "a=1,a=2"},
                                                        {"labels", "a=1, a=2"},
                                                        {"resources", ""},
                                                        {"node-name", ""},
                                                        {"join", "nonsense"},
                                                        {"memory", "-5"},
                                                        {"memory", "9999999P"},
                                                        {"object-store-memory", "12"},
                                                        {"resources", "a"},
                                                        {"resources", "a=x"},
                                                        {"resources", "CPU=3"},
                                                        {"session-name", "a/b"},
                                                        {"bootstrap", "ssh"},
                                                        {"bootstrap-timeout", "0"},
                                                        {"bootstrap-timeout", "3601"},
                                                        {"labels", "=3"}}) {
    Options options;
    const absl::Status status = Read({"--" + name + "=" + value}, &options);
    ASSERT_FALSE(status.ok()) << name << '=' << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(OptionsTest, ALackingValueIsSaidAndTheNextWordIsNotTakenForIt) {
  Options options;
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--resources=", "--num-cpus=1"},
                                                {"--resources"},
                                                {"--virtual-nodes", "--resources="}}) {
    EXPECT_EQ(std::string(Read(words, &options).message()), "--resources lacks its value: --resources=NAME=N,..");
  }
  EXPECT_TRUE(Read({"--node-name", "--resources="}, &options).ok());
}

TEST(OptionsTest, TheLargestAmountsAreExact) {
  Options options;
  ASSERT_TRUE(Read({"--resources=a=1e14"}, &options).ok());
  EXPECT_EQ(options.Amounts("resources").Get("a"), 1000000000000000000);
}

TEST(OptionsTest, KnowsAddresses) {
  for (const char* address : {"auto", "ray-engine/0/session/0", "@ray-engine/7/1.2-ab/00ff"}) {
    Options options;
    EXPECT_TRUE(Read({"--join", address}, &options).ok()) << address;
  }
}

TEST(OptionsTest, SpellsFlagsInManyWays) {
  for (const auto& [text, expected] :
       std::vector<std::pair<std::string, bool>>{{"1", true}, {"Yes", true}, {"off", false}, {"FALSE", false}}) {
    Options options;
    ASSERT_TRUE(Set(&options, "virtual-nodes", text, Source::kEnvironment).ok());
    EXPECT_EQ(options.Flag("virtual-nodes"), expected);
  }
}

TEST(OptionsTest, ParsesSizes) {
  EXPECT_EQ(*ParseBytes("4096"), 4096u);
  EXPECT_EQ(*ParseBytes("1.5GiB"), 3ull << 29);
  EXPECT_EQ(*ParseBytes("512m"), 512ull << 20);
  EXPECT_EQ(*ParseBytes("2KB"), 2048u);
  for (const char* wrong : {"", "G", "1X", "12 34", "nan"}) EXPECT_FALSE(ParseBytes(wrong).ok()) << wrong;
}

TEST(OptionsTest, HelpHasALineForEachOptionOfUsers) {
  const std::string help = OptionHelp(Program::kLauncher);
  for (const OptionSpec& spec : OptionTable()) {
    const bool shown = help.find("--" + std::string(spec.name) + " ") != std::string::npos;
    EXPECT_EQ(shown, spec.IsFor(Program::kLauncher) && !spec.help.empty()) << spec.name;
  }
}

}  // namespace
}  // namespace ray_engine
