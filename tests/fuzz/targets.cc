#include "tests/fuzz/targets.h"

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <type_traits>
#include <utility>

#include "engine/launch/command.h"
#include "engine/transport/fabric_wire.h"
#include "engine/wire/messages.h"
#include "engine/wire/task_spec.h"

namespace ray_engine {

struct PushTask;  // laid out by hand (engine/wire/task_spec.h)
struct TaskDone;

namespace fuzz {
namespace {

void Require(bool condition, const char* rule) {
  if (condition) return;
  std::cerr << "broken: " << rule << std::endl;
  std::abort();
}

// A number from the front of the input.
template <class T>
T Take(std::string_view* bytes) {
  T value{};
  const std::size_t size = std::min(sizeof value, bytes->size());
  std::memcpy(&value, bytes->data(), size);
  bytes->remove_prefix(size);
  return value;
}

template <class Message, class = void>
struct IsDecoded : std::false_type {};
template <class Message>
struct IsDecoded<Message, std::void_t<decltype(sizeof(Message))>> : std::true_type {};

// What was decoded becomes bytes that are decoded to the same.
template <class Message>
void DecodeAs(std::string_view bytes) {
  if constexpr (IsDecoded<Message>()) {
    Message message;
    if (!Decode(bytes, &message)) return;
    const std::string encoded = Encode(message);
    Message again;
    Require(Decode(encoded, &again), "an encoded message can be decoded");
    Require(Encode(again) == encoded, "a message is the same when it has been encoded and decoded");
  }
}

// The first two bytes are the type.
void Messages(std::string_view bytes) {
  switch (static_cast<MessageType>(Take<std::uint16_t>(&bytes))) {
#define RAY_ENGINE_CASE(name) \
  case MessageType::k##name:  \
    return DecodeAs<name>(bytes);
    RAY_ENGINE_MESSAGES(RAY_ENGINE_CASE)
#undef RAY_ENGINE_CASE
    case MessageType::kNone:
      return;
  }
}

// As the bytes may point anywhere: what was parsed lies inside of them.
void Task(std::string_view bytes) {
  TaskView view;
  if (!ParseTask(bytes, &view)) return;
  const auto inside = [bytes](std::string_view part) {
    return part.empty() || (part.data() >= bytes.data() && part.data() + part.size() <= bytes.data() + bytes.size());
  };
  Require(inside(view.name) && inside(view.tail), "name and tail lie in the payload");
  for (const ArgView& arg : view.args) Require(inside(arg.bytes), "an argument lies in the payload");
  for (const std::string_view keyword : view.keywords) Require(inside(keyword), "a keyword lies in the payload");
}

void Fabric(std::string_view bytes) {
  PeerHello hello;
  Decode(bytes, &hello);
  if (!WellFormed(bytes, 3, 4)) return;
  std::size_t size = 0;
  ForEachFrame(bytes, [&](const FrameHeader& header, std::string_view payload) {
    Require(header.size == payload.size(), "a frame is as long as its header says");
    Require(header.from.node == 3 && header.to.node == 4, "a frame is from and to the nodes of its batch");
    size += sizeof header + payload.size();
    return true;
  });
  Require(size == bytes.size(), "the frames of a batch are all of it");
}

// One argument a line.
void CommandLine(std::string_view bytes) {
  std::vector<std::string> arguments(1);
  for (const char c : bytes) c == '\n' ? void(arguments.emplace_back()) : arguments.back().push_back(c);
  for (const std::string& argument : arguments) {
    if (argument.find("config") != std::string::npos) return;  // no files are read here
  }
  const auto command = ParseCommand(arguments);
  if (command.ok()) return;
  Require(!command.status().message().empty(), "who is refused is told why");
}

}  // namespace

const std::vector<Target>& Targets() {
  static const std::vector<Target> targets = {
      {"messages", Messages}, {"task", Task}, {"fabric", Fabric}, {"command_line", CommandLine}};
  return targets;
}

}  // namespace fuzz
}  // namespace ray_engine
