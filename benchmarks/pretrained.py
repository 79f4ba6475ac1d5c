"""LoRA on a real pretrained checkpoint: does training help, and does plain peft load what was saved?

    python -m benchmarks.pretrained --checkpoint FOLDER_OR_HUB_ID [--epochs 2]

Trains GenRec on the users of ml-100k with at most 40 ratings, prints the validation loss before and after, loads the
saved adapter with plain ``peft.PeftModel.from_pretrained`` onto the plain checkpoint, and compares the scores.
"""

import argparse
import json
from pathlib import Path

import torch
from peft import PeftModel
from recbole.data import data_preparation
from recbole.utils import init_seed
from transformers import AutoModelForCausalLM

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import plugin_dataset
from recbole_genrec.runs.process import tune_malloc
from recbole_genrec.training.trainer import GenRecTrainer


@torch.no_grad()
def validation_loss(model, loader):
    """Mean negative log-likelihood of a validation title in nats."""
    scores = [model.eval().predict(interaction) for interaction, *_ in loader]
    return -torch.cat(scores).mean().item()


def main():
    """Run the benchmark; see the module's header."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/pretrained.json"))
    options = parser.parse_args()
    tune_malloc()
    settings = {
        "backbone": options.checkpoint,
        "epochs": options.epochs,
        "user_inter_num_interval": "[5,40]",
        "max_prompt_tokens": 384,
        "weight_decay": 0.0,
        "history": "text",
        "item_prior": False,
        "item_prior_loss": 0.0,
        "history_dropout": 0.0,
        "ema_decay": 0.0,
        "embedding_dropout": 0.0,
        "hidden_dropout": 0.0,
        "checkpoint_dir": "saved/pretrained",
        "eval_batch_size": 32,
    }
    config = GenRecConfig("GenRec", "ml-100k", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, _ = data_preparation(config, plugin_dataset("GenRec")(config))
    model = config.model_class(config, train.dataset)
    before = validation_loss(model, valid)
    trainer = GenRecTrainer(config, model)
    trainer.fit(model.training_loader(config, train.dataset), valid)
    trainer.evaluate(valid)
    after = validation_loss(model, valid)

    plain = AutoModelForCausalLM.from_pretrained(options.checkpoint, dtype=torch.float32, use_safetensors=True)
    adapted = PeftModel.from_pretrained(plain, Path(trainer.saved_model_file) / "adapter").eval()
    history = next(iter(valid))[0]
    embeds, lengths = model.embed_prompts(model.prompts(history["item_id_list"][:8], history["item_length"][:8]))
    with torch.no_grad():
        ours = model.backbone.logits(model.backbone(embeds))
        theirs = adapted(inputs_embeds=embeds).logits
    real = torch.arange(embeds.shape[1]) < lengths[:, None]
    difference = (ours - theirs)[real].abs().max().item()

    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    result = {
        "checkpoint": options.checkpoint,
        "users": len(valid.dataset),
        "parameters": sum(size for size, _ in sizes),
        "trainable": sum(size for size, trains in sizes if trains),
        "validation_loss_before": before,
        "validation_loss_after": after,
        "largest_logit_difference_to_plain_peft": difference,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    for name, value in result.items():
        print(f"{name:42} {value}")


if __name__ == "__main__":
    main()
