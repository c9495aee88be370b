// What a transfer between two nodes costs by itself: one process sends 1 GiB of memory in chunks of the engine's size,
// the other receives them into as much memory, over the same library with the same settings, and both poll.
//
// bare_ucx FILE, as two tasks of srun: task 0 receives and writes its address to FILE, which both see; task 1 sends.
// Two passes over the same memory; the receiver prints the seconds of the second.

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "engine/transport/ucx_worker.h"
#include "objectstore/pull_manager.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kBytes = 1 << 30, kChunks = kBytes / kPullChunk;
constexpr int kPasses = 2, kWindow = 4;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "bare_ucx: %s\n", what.c_str());
  std::exit(1);
}
void Check(ucs_status_t status, const std::string& what) {
  if (status != UCS_OK) Fail(what + ": " + ucs_status_string(status));
}

// Like the store: shared memory, its pages present.
char* Memory() {
  const int fd = memfd_create("bare_ucx", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, kBytes) != 0) Fail("no memory");
  void* data = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) Fail("cannot map the memory");
  std::memset(data, 7, kBytes);
  return static_cast<char*>(data);
}

struct Loop {
  UcxWorker worker;
  char* memory = Memory();
  std::uint64_t done = 0;  // chunks

  Loop() {
    if (absl::Status status = worker.Start({}); !status.ok()) Fail(std::string(status.message()));
  }
  void Until(std::uint64_t count) {
    while (done < count) worker.Progress();
  }
};

void OnDone(Loop* loop, void* request, ucs_status_t status) {
  Check(status, "a chunk was lost");
  ++loop->done;
  if (request != nullptr) ucp_request_free(request);
}

ucs_status_t OnChunk(void* arg, const void* header, size_t, void* data, size_t size,
                     const ucp_am_recv_param_t* message) {
  auto* loop = static_cast<Loop*>(arg);
  std::uint64_t index = 0;
  std::memcpy(&index, header, sizeof index);
  char* to = loop->memory + index * kPullChunk;
  if ((message->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
    std::memcpy(to, data, size);
    ++loop->done;
    return UCS_OK;
  }
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.user_data = loop;
  param.cb.recv_am = [](void* request, ucs_status_t status, size_t, void* loop) {
    OnDone(static_cast<Loop*>(loop), request, status);
  };
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(loop->worker.get(), data, to, size, &param);
  if (!UCS_PTR_IS_PTR(request)) OnDone(loop, nullptr, UCS_PTR_STATUS(request));
  return UCS_INPROGRESS;
}

void Receive(const std::string& file) {
  Loop loop;
  if (!loop.worker.Handle(kUcxChunk, OnChunk, &loop).ok()) Fail("no handler");
  std::ofstream(file + ".part", std::ios::binary) << loop.worker.address();
  std::rename((file + ".part").c_str(), file.c_str());
  loop.Until(kChunks * (kPasses - 1));
  const auto start = std::chrono::steady_clock::now();
  loop.Until(kChunks * kPasses);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("RESULT {\"seconds\": %f}\n", took.count());
}

ucp_ep_h Connect(Loop* loop, const std::string& file) {
  std::ifstream input;
  while (input.open(file, std::ios::binary), !input.is_open())
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::stringstream text;
  text << input.rdbuf();
  const std::string address = text.str();
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  ucp_ep_h endpoint = nullptr;
  Check(ucp_ep_create(loop->worker.get(), &params, &endpoint), "cannot connect");
  return endpoint;
}

void Send(const std::string& file) {
  Loop loop;
  ucp_ep_h endpoint = Connect(&loop, file);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.user_data = &loop;
  param.cb.send = [](void* request, ucs_status_t status, void* loop) {
    OnDone(static_cast<Loop*>(loop), request, status);
  };
  std::uint64_t index[kChunks];  // headers, which must live until they are sent
  for (std::uint64_t sent = 0; sent < kChunks * kPasses; ++sent) {
    if (sent >= kWindow) loop.Until(sent - kWindow + 1);
    std::uint64_t& header = index[sent % kChunks] = sent % kChunks;
    const ucs_status_ptr_t request = ucp_am_send_nbx(endpoint, kUcxChunk, &header, sizeof header,
                                                     loop.memory + header * kPullChunk, kPullChunk, &param);
    if (!UCS_PTR_IS_PTR(request)) OnDone(&loop, nullptr, UCS_PTR_STATUS(request));
  }
  loop.Until(kChunks * kPasses);
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) {
  const char* task = std::getenv("SLURM_PROCID");
  if (argc != 2 || task == nullptr) {
    std::fprintf(stderr, "usage: srun -n 2 bare_ucx FILE\n");
    return 2;
  }
  std::atoi(task) == 0 ? ray_engine::Receive(argv[1]) : ray_engine::Send(argv[1]);
  return 0;
}
