//! Keys that change neither pixels nor tokens nor towers, or only while a model trains.
//!
//! Whatever begins with `_` is one of them too. The lists are what transformers 5.24 and 4 and open_clip 3.3 write
//! and read; the keys of generation are from the time when every configuration had them.

/// Of `config.json` and of its towers.
pub(super) const MODEL: &[&str] = &[
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "dropout",
    "dtype",
    "experts_implementation",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "logit_scale_init_value",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
];

/// Of texts that are written word by word, which CLIP does not.
pub(super) const GENERATION: &[&str] = &[
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    "constraints",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "length_penalty",
    "low_memory",
    "max_length",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_logits",
    "output_scores",
    "penalty_alpha",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "return_dict_in_generate",
    "sequence_bias",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "typical_p",
];

/// Of a tower, and read by the other tower or by none.
pub(super) const TOWER: &[&str] = &[
    "eos_token_id",
    "image_size",
    "max_position_embeddings",
    "num_channels",
    "patch_size",
    "projection_dim", // that of the whole counts
    "vocab_size",
];

/// Of a tower that another object supersedes.
pub(super) const SUPERSEDED: &[&str] = &[
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
];

/// Of an image processor. What is given to a program beside its pictures, it takes from no file.
pub(super) const PROCESSOR: &[&str] = &[
    "device",
    "disable_grouping",
    "feature_extractor_type", // that the image processor's type supersedes
    "image_seq_length",
    "model_input_names",
    "name_or_path",
    "pad_size",
    "processor_class",
    "return_tensors",
    "transformers_version",
    "use_fast",
];

/// Of `processor_config.json` around the image processor.
pub(super) const PROCESSOR_FILE: &[&str] = &["chat_template", "processor_class", "transformers_version"];

/// Of `tokenizer_config.json`: what the tokenizer itself says, says it again, or decodes.
pub(super) const TOKENIZER: &[&str] = &[
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "backend",
    "bos_token_id",
    "chat_template",
    "clean_up_tokenization_spaces",
    "device_map",
    "do_basic_tokenize",
    "do_lower_case",
    "eos_token_id",
    "errors",
    "is_local",
    "is_split_into_words",
    "legacy",
    "local_files_only",
    "max_len",
    "max_length",
    "merges_file",
    "model_input_names",
    "name_or_path",
    "normalization",
    "pad_to_multiple_of",
    "pad_token_id",
    "pad_token_type_id",
    "padding",
    "processor_class",
    "spaces_between_special_tokens",
    "special_tokens_map_file",
    "stride",
    "strip_accents",
    "tokenizer_file",
    "transformers_version",
    "truncation",
    "truncation_strategy",
    "trust_remote_code",
    "unk_token_id",
    "use_fast",
    "vocab_file",
    "vocab_size",
];

/// Of `model_cfg`. Another class around the same text tower changes the names of its tensors, which are checked.
pub(super) const OPEN_CLIP: &[&str] =
    &["custom_text", "init_logit_scale", "nonscalar_logit_scale", "output_dict"];

/// Of both towers of open_clip.
pub(super) const OPEN_CLIP_TOWER: &[&str] = &["final_ln_after_pool"]; // one token is pooled, so the order is no matter

/// Of an image tower of open_clip: of pooling by attention and of towers of timm, which are refused.
pub(super) const OPEN_CLIP_VISION: &[&str] = &[
    "attn_pooler_heads",
    "attn_pooler_queries",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
];

/// Of a text tower of open_clip: of pooling and masks that are refused, and of towers of transformers.
pub(super) const OPEN_CLIP_TEXT: &[&str] =
    &["eos_id", "hf_model_pretrained", "hf_pooler_type", "hf_proj_type", "pad_id"];

/// Of `preprocess_cfg`: the size is the image tower's, and nothing is filled unless sides are kept whole.
pub(super) const OPEN_CLIP_PREPROCESS: &[&str] = &["fill_color", "size"];
