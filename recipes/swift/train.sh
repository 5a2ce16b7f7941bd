# Never run: ms-swift, its GPUs and the data were not at hand. For modelscope/ms-swift@3602360 (4.6.0.dev0, trl below 1.0).
# Before: the reward server on this machine (recipes/README.md), rows.jsonl from recipes/prepare.py.
# usage: MODEL=OpenGVLab/InternVL2_5-8B ROWS=rows.jsonl GALLERY=<sha256> bash recipes/swift/train.sh [--option value ...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${MODEL:=OpenGVLab/InternVL2_5-8B}" "${ROWS:?rows of recipes/prepare.py swift}" "${GALLERY:?sha256 that the server prints}"
: "${SERVER:=http://127.0.0.1:8737}" "${RESPONSE:=512}" "${GPUS:=8}" "${OUT:=output}"
export CIM_SERVER=$SERVER CIM_GALLERY=$GALLERY NPROC_PER_NODE=$GPUS

# 8 GPUs x 8 captions x 20 batches = 1280 captions a step, 4 updates of 5 accumulated batches.
swift rlhf --rlhf_type grpo --model "$MODEL" --use_hf true --tuner_type full --torch_dtype bfloat16 --deepspeed zero3 \
  --external_plugins "$here/cim_plugin.py" --reward_funcs cim_grc cim_qir --reward_weights 1 1 \
  --dataset "$ROWS" --split_dataset_ratio 0 --num_train_epochs 2 \
  --num_generations 5 --per_device_train_batch_size 8 --gradient_accumulation_steps 5 --steps_per_generation 20 \
  --learning_rate 1e-6 --lr_scheduler_type constant --warmup_ratio 0 --weight_decay 0.01 --max_grad_norm 1.0 \
  --beta 0.001 --epsilon 0.2 --delta 3.0 --num_iterations 1 --loss_type bnpo --scale_rewards group \
  --temperature 1.0 --top_p 1.0 --top_k -1 --max_completion_length "$RESPONSE" --truncation_strategy delete \
  --use_vllm true --vllm_mode colocate --vllm_tensor_parallel_size 1 --vllm_gpu_memory_utilization 0.5 \
  --gradient_checkpointing true --save_steps 24 --logging_steps 1 --log_completions true --output_dir "$OUT" "$@"
