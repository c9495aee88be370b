// A FabricHandler that writes down what happens, and helpers to wait for it.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/transport/fabric.h"

namespace ray_engine {

struct FabricRecorder : FabricHandler {
  struct Frame {
    std::uint32_t node = 0;
    FrameHeader header;
    std::string payload;
  };

  void OnFrame(std::uint32_t node, const FrameHeader& frame, std::string_view payload) override {
    if (on_frame) return on_frame(node, frame, payload);
    frames.push_back({node, frame, std::string(payload)});
  }
  char* OnBulk(std::uint32_t, const BulkChunk& chunk) override {
    if (refuse_bulk) return nullptr;
    ++chunks_begun;
    if (memory.size() < chunk.total) memory.resize(chunk.total);
    return memory.data() + chunk.offset;
  }
  void OnBulkDone(std::uint32_t, const BulkChunk& chunk, const absl::Status& status) override {
    if (status.ok()) bytes_received += chunk.size;
    ++chunks_ended;
  }
  void OnPeerLost(std::uint32_t node, const std::string& reason) override { lost.emplace_back(node, reason); }

  std::function<void(std::uint32_t, const FrameHeader&, std::string_view)> on_frame;
  bool refuse_bulk = false;
  std::vector<Frame> frames;
  std::string memory;
  std::uint64_t bytes_received = 0, chunks_begun = 0, chunks_ended = 0;
  std::vector<std::pair<std::uint32_t, std::string>> lost;
};

inline FrameHeader TestFrame(std::uint32_t from, std::uint32_t to, std::uint8_t flags = 0) {
  FrameHeader header;
  header.type = MessageType::kKvRequest;
  header.flags = flags;
  header.from = {from, 0};
  header.to = {to, 0};
  return header;
}

// Progresses all fabrics until the condition holds; false after a minute.
inline bool ProgressUntil(const std::vector<Fabric*>& fabrics, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    for (Fabric* fabric : fabrics) fabric->Progress();
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

}  // namespace ray_engine
