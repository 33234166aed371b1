# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what each pinned release of the engine can load.

tools/engine_architectures.py writes this file from the sources of the releases: names of architectures and tensors from
src/llama-arch.cpp; required keys from load_hparams of src/llama-model.cpp and from src/models/. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> Mapping[str, frozenset[str]]:
    """Read lines of a name and the keys that the release requires for it."""
    return {line.split()[0]: frozenset(line.split()[1:]) for line in text.strip().splitlines()}


#: Required keys, without the architecture's name, by release and architecture.
ARCHITECTURES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "b7836": _table("""
afmoe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count leading_dense_block_count
apertus attention.layer_norm_rms_epsilon
arcee attention.layer_norm_rms_epsilon
arctic attention.layer_norm_rms_epsilon
arwkv7 attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank wkv.head_size
baichuan attention.layer_norm_rms_epsilon
bailingmoe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count expert_weights_scale \
leading_dense_block_count
bailingmoe2 attention.layer_norm_rms_epsilon expert_feed_forward_length expert_gating_func expert_shared_count \
expert_shared_feed_forward_length expert_weights_scale leading_dense_block_count
bert attention.causal attention.layer_norm_epsilon
bitnet attention.layer_norm_rms_epsilon
bloom attention.layer_norm_epsilon
chameleon attention.layer_norm_rms_epsilon swin_norm
chatglm attention.layer_norm_rms_epsilon
codeshell attention.layer_norm_epsilon
cogvlm attention.layer_norm_rms_epsilon
cohere2 attention.layer_norm_epsilon attention.sliding_window logit_scale
command-r attention.layer_norm_epsilon logit_scale
dbrx attention.clamp_kqv attention.layer_norm_epsilon
deci attention.layer_norm_rms_epsilon
deepseek attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count expert_weights_scale \
leading_dense_block_count
deepseek2 attention.kv_lora_rank attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count \
leading_dense_block_count
dots1 attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count expert_weights_scale \
leading_dense_block_count
dream attention.layer_norm_rms_epsilon
ernie4_5 attention.layer_norm_rms_epsilon
ernie4_5-moe attention.layer_norm_rms_epsilon
exaone attention.layer_norm_rms_epsilon
exaone-moe attention.layer_norm_rms_epsilon attention.sliding_window expert_feed_forward_length \
expert_gating_func leading_dense_block_count
exaone4 attention.layer_norm_rms_epsilon
falcon attention.layer_norm_epsilon
falcon-h1 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
gemma attention.layer_norm_rms_epsilon
gemma-embedding attention.layer_norm_rms_epsilon attention.sliding_window pooling_type
gemma2 attention.layer_norm_rms_epsilon
gemma3 attention.layer_norm_rms_epsilon
gemma3n attention.layer_norm_rms_epsilon attention.sliding_window
glm4 attention.layer_norm_rms_epsilon
glm4moe attention.layer_norm_rms_epsilon expert_count expert_feed_forward_length expert_shared_count \
expert_used_count expert_weights_scale
gpt-oss attention.layer_norm_rms_epsilon attention.sliding_window expert_feed_forward_length
gpt2 attention.layer_norm_epsilon
gptneox attention.layer_norm_epsilon use_parallel_residual
granite attention.layer_norm_rms_epsilon attention.scale embedding_scale logit_scale residual_scale
granitehybrid attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
granitemoe attention.layer_norm_rms_epsilon attention.scale embedding_scale logit_scale residual_scale
grok attention.layer_norm_rms_epsilon
grovemoe attention.layer_norm_rms_epsilon expert_chunk_feed_forward_length expert_feed_forward_length \
expert_group_scale experts_per_group
hunyuan-dense attention.layer_norm_rms_epsilon
hunyuan-moe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_feed_forward_length
internlm2 attention.layer_norm_rms_epsilon
jais attention.layer_norm_epsilon attention.max_alibi_bias
jamba attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank
jina-bert-v2 attention.causal attention.layer_norm_epsilon
jina-bert-v3 attention.causal attention.layer_norm_epsilon
lfm2 attention.layer_norm_rms_epsilon shortconv.l_cache
lfm2moe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_gating_func leading_dense_block_count \
shortconv.l_cache
llada attention.layer_norm_rms_epsilon
llada-moe attention.layer_norm_rms_epsilon
llama attention.layer_norm_rms_epsilon
llama-embed attention.layer_norm_rms_epsilon
llama4 attention.layer_norm_rms_epsilon expert_feed_forward_length interleave_moe_layer_step
maincoder attention.layer_norm_rms_epsilon
mamba attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank
mamba2 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
mimo2 attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern \
expert_feed_forward_length rope.freq_base_swa
minicpm attention.layer_norm_rms_epsilon
minicpm3 attention.kv_lora_rank attention.layer_norm_rms_epsilon attention.q_lora_rank
minimax-m2 attention.layer_norm_rms_epsilon expert_feed_forward_length
mistral3 attention.layer_norm_rms_epsilon
modern-bert attention.causal attention.layer_norm_epsilon
mpt attention.layer_norm_epsilon attention.max_alibi_bias
nemotron attention.layer_norm_epsilon
nemotron_h attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
nemotron_h_moe attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
neo-bert attention.causal attention.layer_norm_rms_epsilon pooling_type
nomic-bert attention.causal attention.layer_norm_epsilon pooling_type
nomic-bert-moe attention.causal attention.layer_norm_epsilon pooling_type
olmo attention.layer_norm_epsilon
olmo2 attention.layer_norm_rms_epsilon
olmoe attention.layer_norm_rms_epsilon
openelm attention.layer_norm_rms_epsilon
orion attention.layer_norm_epsilon
pangu-embedded attention.layer_norm_rms_epsilon
phi2 attention.layer_norm_epsilon
phi3 attention.layer_norm_rms_epsilon
phimoe attention.layer_norm_rms_epsilon
plamo attention.layer_norm_rms_epsilon
plamo2 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
plamo3 attention.layer_norm_rms_epsilon
plm attention.kv_lora_rank attention.layer_norm_rms_epsilon
qwen attention.layer_norm_rms_epsilon
qwen2 attention.layer_norm_rms_epsilon
qwen2moe attention.layer_norm_rms_epsilon
qwen2vl attention.layer_norm_rms_epsilon
qwen3 attention.layer_norm_rms_epsilon
qwen3moe attention.layer_norm_rms_epsilon
qwen3next attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
qwen3vl attention.layer_norm_rms_epsilon
qwen3vlmoe attention.layer_norm_rms_epsilon
refact attention.layer_norm_rms_epsilon
rnd1 attention.layer_norm_rms_epsilon
rwkv6 time_decay_extra_dim time_mix_extra_dim wkv.head_size
rwkv6qwen2 time_decay_extra_dim time_mix_extra_dim wkv.head_size
rwkv7 attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank wkv.head_size
seed_oss attention.layer_norm_rms_epsilon
smallthinker attention.layer_norm_rms_epsilon
smollm3 attention.layer_norm_rms_epsilon
stablelm attention.layer_norm_epsilon
starcoder attention.layer_norm_epsilon
starcoder2 attention.layer_norm_epsilon
t5 attention.layer_norm_rms_epsilon attention.relative_buckets_count
t5encoder attention.layer_norm_rms_epsilon attention.relative_buckets_count
wavtokenizer-dec attention.causal attention.group_norm_epsilon attention.group_norm_groups \
attention.layer_norm_epsilon
xverse attention.layer_norm_rms_epsilon
"""),
    "0c1e57098": _table("""
afmoe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
apertus attention.layer_norm_rms_epsilon
arcee attention.layer_norm_rms_epsilon
arctic attention.layer_norm_rms_epsilon
arwkv7 attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank wkv.head_size
baichuan attention.layer_norm_rms_epsilon
bailingmoe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
bailingmoe2 attention.layer_norm_rms_epsilon expert_feed_forward_length expert_gating_func expert_shared_count
bailingmoe3 attention.key_length_mla attention.kv_lora_rank attention.layer_norm_rms_epsilon \
attention.value_length_mla expert_feed_forward_length expert_gating_func expert_shared_count \
kda.gate_lower_bound kda.head_dim leading_dense_block_count ssm.conv_kernel
bert attention.layer_norm_epsilon
bitnet attention.layer_norm_rms_epsilon
bloom attention.layer_norm_epsilon
chameleon attention.layer_norm_rms_epsilon
chatglm attention.layer_norm_rms_epsilon
codeshell attention.layer_norm_epsilon
cogvlm attention.layer_norm_rms_epsilon
cohere2 attention.layer_norm_epsilon attention.sliding_window logit_scale
cohere2moe attention.sliding_window expert_feed_forward_length leading_dense_block_count logit_scale
command-r attention.layer_norm_epsilon
dbrx attention.clamp_kqv attention.layer_norm_epsilon
deci attention.layer_norm_rms_epsilon
deepseek attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
deepseek2 attention.kv_lora_rank attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
deepseek2-ocr attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
deepseek32 attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k \
attention.kv_lora_rank attention.layer_norm_rms_epsilon attention.q_lora_rank expert_feed_forward_length \
expert_gating_func expert_shared_count
deepseek4 attention.compress_ratios attention.compress_rope_freq_base attention.indexer.head_count \
attention.indexer.key_length attention.indexer.top_k attention.layer_norm_rms_epsilon \
attention.output_group_count attention.output_lora_rank attention.q_lora_rank attention.sliding_window \
expert_feed_forward_length expert_gating_func expert_shared_count expert_weights_norm expert_weights_scale \
hash_layer_count hyper_connection.count hyper_connection.epsilon hyper_connection.sinkhorn_iterations \
swiglu_clamp_exp
dflash attention.layer_norm_rms_epsilon
dots1 attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
dots3note attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k \
attention.indexer.types attention.key_length_mla attention.key_length_mla_swa attention.kv_lora_rank \
attention.kv_lora_rank_swa attention.layer_norm_rms_epsilon attention.q_lora_rank attention.sliding_window \
attention.sliding_window_pattern attention.value_length_mla attention.value_length_mla_swa \
expert_feed_forward_length expert_gating_func expert_shared_count leading_dense_block_count rope.freq_base_swa
dream attention.layer_norm_rms_epsilon
eagle3 attention.layer_norm_rms_epsilon target_hidden_size
ernie4_5 attention.layer_norm_rms_epsilon
ernie4_5-moe attention.layer_norm_rms_epsilon
eurobert attention.layer_norm_rms_epsilon
exaone attention.layer_norm_rms_epsilon
exaone-moe attention.layer_norm_rms_epsilon attention.sliding_window expert_feed_forward_length \
expert_gating_func
exaone4 attention.layer_norm_rms_epsilon
falcon attention.layer_norm_epsilon
falcon-h1 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
gemma attention.layer_norm_rms_epsilon
gemma-embedding attention.layer_norm_rms_epsilon attention.sliding_window
gemma2 attention.layer_norm_rms_epsilon
gemma3 attention.layer_norm_rms_epsilon
gemma3n attention.layer_norm_rms_epsilon attention.sliding_window
gemma4 attention.key_length_swa attention.layer_norm_rms_epsilon attention.sliding_window \
attention.sliding_window_pattern attention.value_length_swa embedding_length_per_layer_input
gemma4-assistant attention.key_length_swa attention.layer_norm_rms_epsilon attention.sliding_window \
attention.sliding_window_pattern attention.value_length_swa
glm-dsa attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k \
attention.indexer.types attention.kv_lora_rank attention.layer_norm_rms_epsilon attention.q_lora_rank \
expert_feed_forward_length expert_shared_count
glm4 attention.layer_norm_rms_epsilon
glm4moe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
glm5-next attention.indexer.head_count attention.indexer.key_length attention.indexer.kpool \
attention.indexer.top_k attention.indexer.types attention.key_length_mla attention.kv_lora_rank \
attention.layer_norm_rms_epsilon attention.q_lora_rank attention.value_length_mla expert_feed_forward_length \
expert_shared_count hyper_connection.count hyper_connection.epsilon hyper_connection.sinkhorn_iterations \
kda.head_dim ssm.conv_kernel
gpt-oss attention.layer_norm_rms_epsilon attention.sliding_window expert_feed_forward_length
gpt2 attention.layer_norm_epsilon
gptneox attention.layer_norm_epsilon use_parallel_residual
granite attention.layer_norm_rms_epsilon logit_scale
granite_swa attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern \
logit_scale
granitehybrid attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
granitemoe attention.layer_norm_rms_epsilon logit_scale
graniteswitch adapters.count adapters.lora_rank adapters.token_ids_activate adapters.token_ids_substitute \
attention.layer_norm_rms_epsilon logit_scale
grok attention.layer_norm_rms_epsilon
grovemoe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_group_scale experts_per_group
hrm_text attention.layer_norm_rms_epsilon hrm.h_cycles hrm.l_cycles hrm.layers_per_stack
hunyuan-dense attention.layer_norm_rms_epsilon
hunyuan-moe attention.layer_norm_rms_epsilon expert_feed_forward_length
hunyuan_vl attention.layer_norm_rms_epsilon
hy_v3 attention.layer_norm_rms_epsilon expert_feed_forward_length
hy_v4 attention.key_length_mla attention.kv_lora_rank attention.layer_norm_rms_epsilon attention.q_lora_rank \
attention.value_length_mla expert_feed_forward_length expert_shared_count hyper_connection.count \
hyper_connection.epsilon hyper_connection.magnitude
internlm2 attention.layer_norm_rms_epsilon
jais attention.layer_norm_epsilon
jais2 attention.layer_norm_epsilon
jamba attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank
jina-bert-v2 attention.layer_norm_epsilon
jina-bert-v3 attention.layer_norm_epsilon
kimi-k3 activation.situ_beta activation.situ_linear_beta attention.key_length_mla attention.kv_lora_rank \
attention.layer_norm_rms_epsilon attention.value_length_mla attn_res.block_size expert_feed_forward_length \
expert_gating_func expert_shared_count kda.head_dim ssm.conv_kernel
kimi-linear attention.key_length_mla attention.kv_lora_rank attention.layer_norm_rms_epsilon \
attention.value_length_mla expert_feed_forward_length expert_gating_func expert_shared_count kda.head_dim \
ssm.conv_kernel
laguna attention.layer_norm_rms_epsilon expert_feed_forward_length leading_dense_block_count
lfm2 attention.layer_norm_rms_epsilon shortconv.l_cache
lfm2moe attention.layer_norm_rms_epsilon expert_feed_forward_length expert_gating_func shortconv.l_cache
llada attention.layer_norm_rms_epsilon
llada-moe attention.layer_norm_rms_epsilon
llama attention.layer_norm_rms_epsilon
llama-embed attention.layer_norm_rms_epsilon
llama4 attention.layer_norm_rms_epsilon expert_feed_forward_length interleave_moe_layer_step
maincoder attention.layer_norm_rms_epsilon
mamba attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank
mamba2 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
maple attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern \
expert_feed_forward_length swiglu_clamp_exp
mellum attention.layer_norm_rms_epsilon expert_feed_forward_length
mimo2 attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern \
expert_feed_forward_length
minicpm attention.layer_norm_rms_epsilon
minicpm3 attention.kv_lora_rank attention.layer_norm_rms_epsilon attention.q_lora_rank
minimax-01 attention.layer_norm_rms_epsilon residual_scale
minimax-m2 attention.layer_norm_rms_epsilon expert_feed_forward_length
minimax-m3 attention.indexer.block_size attention.indexer.head_count attention.indexer.key_length \
attention.indexer.local_blocks attention.indexer.top_k attention.layer_norm_rms_epsilon \
expert_feed_forward_length expert_gating_func expert_shared_count
mistral3 attention.layer_norm_rms_epsilon
mistral4 attention.kv_lora_rank attention.layer_norm_rms_epsilon expert_feed_forward_length expert_shared_count
modern-bert attention.layer_norm_epsilon
mpt attention.layer_norm_epsilon
muse-glimmer attention.layer_norm_rms_epsilon attention.sliding_window logit_scale
nanbeige attention.layer_norm_rms_epsilon
nemotron attention.layer_norm_epsilon
nemotron_h attention.layer_norm_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
nemotron_h_moe attention.layer_norm_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
neo-bert attention.layer_norm_rms_epsilon
nomic-bert attention.layer_norm_epsilon
nomic-bert-moe attention.layer_norm_epsilon
olmo attention.layer_norm_epsilon
olmo2 attention.layer_norm_rms_epsilon
olmoe attention.layer_norm_rms_epsilon
openelm attention.layer_norm_rms_epsilon
orion attention.layer_norm_epsilon
paddleocr attention.layer_norm_rms_epsilon
pangu-embedded attention.layer_norm_rms_epsilon
phi2 attention.layer_norm_epsilon
phi3 attention.layer_norm_rms_epsilon
phimoe attention.layer_norm_rms_epsilon
plamo attention.layer_norm_rms_epsilon
plamo2 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
plamo3 attention.layer_norm_rms_epsilon
plm attention.kv_lora_rank attention.layer_norm_rms_epsilon
pockettts attention.layer_norm_epsilon
qwen attention.layer_norm_rms_epsilon
qwen2 attention.layer_norm_rms_epsilon
qwen2moe attention.layer_norm_rms_epsilon
qwen2vl
qwen3 attention.layer_norm_rms_epsilon
qwen35 attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
qwen35moe attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
qwen3moe attention.layer_norm_rms_epsilon
qwen3next attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size \
ssm.time_step_rank
qwen3tts attention.layer_norm_rms_epsilon
qwen3vl attention.layer_norm_rms_epsilon
qwen3vlmoe attention.layer_norm_rms_epsilon
qwen4exp attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k \
attention.layer_norm_rms_epsilon hyper_connection.count hyper_connection.low_rank ssm.conv_kernel \
ssm.group_count ssm.inner_size ssm.state_size ssm.time_step_rank
refact attention.layer_norm_rms_epsilon
rnd1 attention.layer_norm_rms_epsilon
rwkv6 time_decay_extra_dim time_mix_extra_dim wkv.head_size
rwkv6qwen2 time_decay_extra_dim time_mix_extra_dim wkv.head_size
rwkv7 attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank wkv.head_size
seed_oss attention.layer_norm_rms_epsilon
smallthinker attention.layer_norm_rms_epsilon
smollm3 attention.layer_norm_rms_epsilon
spark2_5 attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern
stablelm attention.layer_norm_epsilon
starcoder attention.layer_norm_epsilon
starcoder2 attention.layer_norm_epsilon
step35 attention.layer_norm_rms_epsilon attention.sliding_window attention.sliding_window_pattern \
expert_feed_forward_length
t5 attention.layer_norm_rms_epsilon attention.relative_buckets_count
t5encoder attention.layer_norm_rms_epsilon attention.relative_buckets_count
talkie attention.layer_norm_rms_epsilon logit_scale
wavtokenizer-dec attention.group_norm_epsilon attention.group_norm_groups attention.layer_norm_epsilon
xverse attention.layer_norm_rms_epsilon
"""),
}  # fmt: skip

#: Names of tensors, without C(blk.N.) and their suffix, by release.
TENSORS: Mapping[str, frozenset[str]] = {
    "b7836": _words("""
altup_correct_coef altup_correct_scale altup_predict_coef altup_proj altup_router altup_router_norm
altup_unembd_proj attn_gate attn_k attn_k_b attn_k_norm attn_kv_a_mqa attn_kv_a_norm attn_kv_b attn_norm
attn_norm_2 attn_output attn_output_norm attn_q attn_q_a attn_q_a_norm attn_q_b attn_q_norm attn_qkv
attn_rot_embd attn_sinks attn_sub_norm attn_v attn_v_b channel_mix_key channel_mix_lerp_k channel_mix_lerp_r
channel_mix_receptance channel_mix_value cls cls.output conv1d convnext.%d.dw convnext.%d.gamma
convnext.%d.norm convnext.%d.pw1 convnext.%d.pw2 dec.blk.%d.attn_k dec.blk.%d.attn_norm dec.blk.%d.attn_o
dec.blk.%d.attn_q dec.blk.%d.attn_rel_b dec.blk.%d.attn_v dec.blk.%d.cross_attn_k dec.blk.%d.cross_attn_norm
dec.blk.%d.cross_attn_o dec.blk.%d.cross_attn_q dec.blk.%d.cross_attn_rel_b dec.blk.%d.cross_attn_v
dec.blk.%d.ffn_down dec.blk.%d.ffn_gate dec.blk.%d.ffn_norm dec.blk.%d.ffn_up dec.output_norm dense_2 dense_3
enc.blk.%d.attn_k enc.blk.%d.attn_norm enc.blk.%d.attn_o enc.blk.%d.attn_q enc.blk.%d.attn_rel_b
enc.blk.%d.attn_v enc.blk.%d.ffn_down enc.blk.%d.ffn_gate enc.blk.%d.ffn_norm enc.blk.%d.ffn_up
enc.output_norm exp_probs_b ffn.act ffn_down ffn_down.%d ffn_down_chexps ffn_down_exps ffn_down_shexp ffn_gate
ffn_gate.%d ffn_gate_chexps ffn_gate_exps ffn_gate_inp ffn_gate_inp_shexp ffn_gate_shexp ffn_norm
ffn_norm_exps ffn_sub_norm ffn_up ffn_up.%d ffn_up_chexps ffn_up_exps ffn_up_shexp inp_gate laurel_l
laurel_post_norm laurel_r layer_output_norm nextn.eh_proj nextn.embed_tokens nextn.enorm nextn.hnorm
nextn.shared_head_head nextn.shared_head_norm output output_norm per_layer_model_proj per_layer_proj_norm
per_layer_token_embd position_embd posnet.%d.attn_k posnet.%d.attn_norm posnet.%d.attn_output posnet.%d.attn_q
posnet.%d.attn_v posnet.%d.conv1 posnet.%d.conv2 posnet.%d.norm posnet.%d.norm1 posnet.%d.norm2
post_attention_norm post_ffw_norm post_norm proj rope_factors_long rope_factors_short rope_freqs
shortconv.conv shortconv.in_proj shortconv.out_proj ssm_a ssm_b_norm ssm_ba ssm_c_norm ssm_conv1d ssm_d ssm_dt
ssm_dt_norm ssm_in ssm_norm ssm_out ssm_x time_mix_a0 time_mix_a1 time_mix_a2 time_mix_decay time_mix_decay_w1
time_mix_decay_w2 time_mix_first time_mix_g1 time_mix_g2 time_mix_gate time_mix_k_a time_mix_k_k time_mix_key
time_mix_lerp_fused time_mix_lerp_g time_mix_lerp_k time_mix_lerp_r time_mix_lerp_v time_mix_lerp_w
time_mix_lerp_x time_mix_ln time_mix_output time_mix_r_k time_mix_receptance time_mix_v0 time_mix_v1
time_mix_v2 time_mix_value time_mix_w0 time_mix_w1 time_mix_w2 token_embd token_embd_norm token_types
vis_attn_output vis_attn_qkv vis_down vis_gate vis_up
"""),
    "0c1e57098": _words("""
altup_correct_coef altup_correct_scale altup_predict_coef altup_proj altup_router altup_router_norm
altup_unembd_proj attn_compressor_ape attn_compressor_gate attn_compressor_kv attn_compressor_norm
attn_conv_base attn_conv_proj attn_gate attn_k attn_k_b attn_k_norm attn_kv attn_kv_a_mqa attn_kv_a_norm
attn_kv_b attn_norm attn_norm_2 attn_output attn_output_a attn_output_b attn_output_norm attn_q attn_q_a
attn_q_a_norm attn_q_b attn_q_norm attn_qkv attn_res_score attn_rot_embd attn_sinks attn_sub_norm attn_v
attn_v_b channel_mix_key channel_mix_lerp_k channel_mix_lerp_r channel_mix_receptance channel_mix_value cls
cls.norm cls.output conf_proj conv1d convnext.%d.dw convnext.%d.gamma convnext.%d.norm convnext.%d.pw1
convnext.%d.pw2 d2t dec.blk.%d.attn_k dec.blk.%d.attn_norm dec.blk.%d.attn_o dec.blk.%d.attn_q
dec.blk.%d.attn_rel_b dec.blk.%d.attn_v dec.blk.%d.cross_attn_k dec.blk.%d.cross_attn_norm
dec.blk.%d.cross_attn_o dec.blk.%d.cross_attn_q dec.blk.%d.cross_attn_rel_b dec.blk.%d.cross_attn_v
dec.blk.%d.ffn_down dec.blk.%d.ffn_gate dec.blk.%d.ffn_norm dec.blk.%d.ffn_up dec.output_norm dense_2 dense_3
enc.blk.%d.attn_k enc.blk.%d.attn_norm enc.blk.%d.attn_o enc.blk.%d.attn_q enc.blk.%d.attn_rel_b
enc.blk.%d.attn_v enc.blk.%d.ffn_down enc.blk.%d.ffn_gate enc.blk.%d.ffn_norm enc.blk.%d.ffn_up
enc.output_norm exp_probs_b exp_probs_b_vl fc ffn.act ffn_conv_base ffn_conv_proj ffn_down ffn_down.%d
ffn_down_chexps ffn_down_exps ffn_down_shexp ffn_gate ffn_gate.%d ffn_gate_chexps ffn_gate_exps ffn_gate_inp
ffn_gate_inp_shexp ffn_gate_shexp ffn_gate_tid2eid ffn_gate_up_exps ffn_latent_down ffn_latent_up ffn_norm
ffn_norm_exps ffn_res_score ffn_routed_down ffn_routed_norm ffn_routed_up ffn_sub_norm ffn_up ffn_up.%d
ffn_up_chexps ffn_up_exps ffn_up_shexp hc_attn_base hc_attn_down hc_attn_fn hc_attn_inject hc_attn_norm
hc_attn_scale hc_attn_up hc_ffn_base hc_ffn_down hc_ffn_fn hc_ffn_inject hc_ffn_norm hc_ffn_scale hc_ffn_up
hrm.z_l_init indexer.attn_k indexer.attn_q_b indexer.k_norm indexer.k_proj indexer.proj indexer.q_norm
indexer.q_proj indexer_compressor_ape indexer_compressor_gate indexer_compressor_kv indexer_compressor_norm
inp_gate laurel_l laurel_post_norm laurel_r layer_output_norm layer_output_scale markov_w1 markov_w2
masked_embd_centroids masked_embd_ordering nextn.eh_proj nextn.embed_tokens nextn.enorm nextn.hnorm
nextn.post_projection nextn.pre_projection nextn.shared_head_head nextn.shared_head_norm output output_hc_base
output_hc_down output_hc_fn output_hc_norm output_hc_scale output_hc_up output_norm output_res_score
per_layer_model_proj per_layer_proj_norm per_layer_token_embd ple_conv1d ple_key ple_norm_conv ple_norm_key
ple_norm_query ple_value position_embd posnet.%d.attn_k posnet.%d.attn_norm posnet.%d.attn_output
posnet.%d.attn_q posnet.%d.attn_v posnet.%d.conv1 posnet.%d.conv2 posnet.%d.norm posnet.%d.norm1
posnet.%d.norm2 post_attention_norm post_ffw_norm post_ffw_norm_1 post_ffw_norm_2 post_norm pre_ffw_norm_2
proj rope_factors_long rope_factors_short rope_freqs selector_hidden selector_predecessor selector_successor
shortconv.conv shortconv.in_proj shortconv.out_proj ssm_a ssm_alpha ssm_b_norm ssm_ba ssm_beta ssm_c_norm
ssm_conv1d ssm_conv1d_k ssm_conv1d_q ssm_conv1d_v ssm_d ssm_dt ssm_dt_norm ssm_f_a ssm_f_b ssm_g ssm_g_a
ssm_g_b ssm_in ssm_norm ssm_out ssm_x time_mix_a0 time_mix_a1 time_mix_a2 time_mix_decay time_mix_decay_w1
time_mix_decay_w2 time_mix_first time_mix_g1 time_mix_g2 time_mix_gate time_mix_k_a time_mix_k_k time_mix_key
time_mix_lerp_fused time_mix_lerp_g time_mix_lerp_k time_mix_lerp_r time_mix_lerp_v time_mix_lerp_w
time_mix_lerp_x time_mix_ln time_mix_output time_mix_r_k time_mix_receptance time_mix_v0 time_mix_v1
time_mix_v2 time_mix_value time_mix_w0 time_mix_w1 time_mix_w2 token_embd token_embd_norm token_types
vis_attn_output vis_attn_qkv vis_down vis_gate vis_up
"""),
}  # fmt: skip
