// Copyright: (c) 2026, herd.inference contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Print what the engine would allocate on each of several RPC workers, without loading a weight.
//
//   allocation PORT...
//
// Starts a worker on each port. Reads a case a line from standard input:
//
//   MODEL CONTEXT SLOTS UBATCH BATCH UNIFIED FLASH TYPE_K TYPE_V DEVICES SHARE...
//
// and prints "ok" and, for each device, bytes of weights, caches and compute buffer; then those of the head. The
// engine's own planner (--fit) works the same way: a context without memory, whose schedulers and allocators compute
// their sizes.

#include "ggml-backend.h"
#include "ggml-rpc.h"
#include "llama.h"
#if __has_include("llama-ext.h")
#include "llama-ext.h"
#else
#include "llama-context.h"
#include "llama-model.h"
#endif

#include <arpa/inet.h>
#include <algorithm>
#include <csignal>
#include <dlfcn.h>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

// The sizes of each graph that the engine reserves, and their maxima, by number of the scheduler's backend.
static std::vector<size_t> largest;
static bool is_reserving = false;

// These take the places of the library's functions. A real start reserves three graphs; one without memory reserves
// only the first, after it has forgotten which device the engine chose for some operations.
extern "C" void ggml_backend_sched_reset(ggml_backend_sched_t sched) {
    static const auto real = (void (*)(ggml_backend_sched_t)) dlsym(RTLD_NEXT, "ggml_backend_sched_reset");
    if (!is_reserving) {
        real(sched);
    }
}

extern "C" void ggml_backend_sched_reserve_size(ggml_backend_sched_t sched, ggml_cgraph * graph, size_t * sizes) {
    using Real = void (*)(ggml_backend_sched_t, ggml_cgraph *, size_t *);
    static const auto real = (Real) dlsym(RTLD_NEXT, "ggml_backend_sched_reserve_size");
    is_reserving = true;
    real(sched, graph, sizes);
    is_reserving = false;
    largest.resize(ggml_backend_sched_get_n_backends(sched));
    for (size_t i = 0; i < largest.size(); i++) {
        largest[i] = std::max(largest[i], sizes[i]);
    }
}

extern "C" void ggml_backend_sched_split_graph(ggml_backend_sched_t sched, ggml_cgraph * graph) {
    using Real = void (*)(ggml_backend_sched_t, ggml_cgraph *);
    static const auto real = (Real) dlsym(RTLD_NEXT, "ggml_backend_sched_split_graph");
    if (is_reserving) {
        real(sched, graph);
        return;
    }
    std::vector<size_t> sizes(ggml_backend_sched_get_n_backends(sched));
    ggml_backend_sched_reserve_size(sched, graph, sizes.data());
}

static ggml_type type_of(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char * found = ggml_type_name((ggml_type) i);
        if (found && name == found) {
            return (ggml_type) i;
        }
    }
    std::cerr << "unknown type " << name << std::endl;
    exit(2);
}

static void serve(const std::string & endpoint) {
    if (fork() != 0) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    freopen("/dev/null", "w", stdout);
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_rpc_start_server(endpoint.c_str(), nullptr, 1, 1, &device);
    exit(1);
}

static void wait_for(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 3000; i++) {
        const int made = socket(AF_INET, SOCK_STREAM, 0);
        const bool listens = connect(made, (sockaddr *) &address, sizeof(address)) == 0;
        close(made);
        if (listens) {
            return;
        }
        usleep(10000);
    }
}

static void measure(const std::string & line, const std::vector<ggml_backend_dev_t> & devices) {
    std::istringstream in(line);
    std::string path, type_k, type_v;
    int context, slots, ubatch, batch, unified, flash, count;
    in >> path >> context >> slots >> ubatch >> batch >> unified >> flash >> type_k >> type_v >> count;
    float split[128] = {};
    for (int i = 0; i < count; i++) {
        in >> split[i];
    }
    std::vector<ggml_backend_dev_t> used(devices.begin(), devices.begin() + count);
    used.push_back(nullptr);
    llama_model_params mparams = llama_model_default_params();
    mparams.devices = used.data();
    mparams.n_gpu_layers = 999;
    mparams.tensor_split = split;
    mparams.no_alloc = true;
#if __has_include("llama-ext.h")
    mparams.load_mode = LLAMA_LOAD_MODE_NONE;
#else
    mparams.use_mmap = false;
#endif
    llama_context_params cparams = llama_context_default_params();
    cparams.n_ctx = context;
    cparams.n_seq_max = slots;
    cparams.n_ubatch = ubatch;
    cparams.n_batch = batch;
    cparams.kv_unified = unified;
    cparams.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cparams.type_k = type_of(type_k);
    cparams.type_v = type_of(type_v);
    cparams.swa_full = false;
#if __has_include("llama-ext.h")
    cparams.n_outputs_max = slots;
#endif
    largest.clear();
    llama_model * model = llama_model_load_from_file(path.c_str(), mparams);
    llama_context * made = model ? llama_init_from_model(model, cparams) : nullptr;
    if (!made) {
        std::cout << "refused" << std::endl;
    } else {
#if __has_include("llama-ext.h")
        const auto parts = llama_get_memory_breakdown(made);
#else
        const auto parts = made->memory_breakdown();
#endif
        std::vector<size_t> sums(3 * (count + 1), 0);
        for (const auto & [kind, part] : parts) {
            int number = count;
            for (int i = 0; i < count; i++) {
                if (!ggml_backend_buft_is_host(kind) && ggml_backend_buft_get_device(kind) == devices[i]) {
                    number = i;
                }
            }
            sums[3 * number] += part.model;
            sums[3 * number + 1] += part.context;
        }
        for (size_t i = 0; i < largest.size(); i++) {
            sums[3 * std::min<size_t>(i, count) + 2] += largest[i];
        }
        std::cout << "ok";
        for (size_t each : sums) {
            std::cout << " " << each;
        }
        std::cout << std::endl;
    }
    if (made) {
        llama_free(made);
    }
    if (model) {
        llama_model_free(model);
    }
}

int main(int argc, char ** argv) {
    std::vector<std::string> endpoints;
    for (int i = 1; i < argc; i++) {
        endpoints.push_back(std::string("127.0.0.1:") + argv[i]);
        serve(endpoints.back());
    }
    llama_backend_init();
    for (int i = 1; i < argc; i++) {
        wait_for(std::stoi(argv[i]));
    }
    std::vector<ggml_backend_dev_t> devices;
    for (const auto & endpoint : endpoints) {
        ggml_backend_reg_t found = ggml_backend_rpc_add_server(endpoint.c_str());
        ggml_backend_register(found);
        devices.push_back(ggml_backend_reg_dev_get(found, 0));
    }
    std::string line;
    while (std::getline(std::cin, line)) {
        measure(line, devices);
    }
    return 0;
}
