"""The head of a card: the fields in YAML by which a model hub files a model."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from data.script import primary
from eval.report.learned import facts_of, learned_metrics
from eval.report.wording import METRICS, Metric
from eval.run_folder import RunFolder
from grpo.config import DEFAULT_POLICY
from grpo.engine.licences import GEMMA, UNKNOWN, licence_of_texts

HUB = "hub:"
DEFAULT_BASE = "google/gemma-3-270m"
GEMMA_BASES = "google/gemma-"  # how the names of Google's own models begin
LIBRARY = "transformers"
TASK = "text-generation"
SHOWN = ("chrf", "bleu", "cosine", "cosine_held_out", "rouge_l")  # scores that the head lists


def head(run: RunFolder, system: str, policy: Path) -> str:
    """The YAML between two lines of dashes. A field that the run folder does not give is left out."""
    data = ModelCardData(
        language=languages(run) or None,
        license=licence_of_model(run, policy) or UNKNOWN,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        base_model=base_on_hub(run) or None,
        tags=["grpo", "semantic-grpo", *(["translation"] if is_translation(run) else [])],
        model_name=run.path.resolve().name,
        eval_results=eval_results(run, system) or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def languages(run: RunFolder) -> list[str]:
    """The languages of the corpus and of what is written, as the hub names them."""
    splits = run.corpus.get("manifest", {}).get("splits", {})
    sources = {language for part in splits.values() for language in part["languages"]}
    targets = {system["target_language"] for view in run.views.values() for system in view.systems.values()}
    return sorted({primary(language) for language in sources | targets})


def is_translation(run: RunFolder) -> bool:
    """Whether the corpus holds translations."""
    return run.config.get("data", {}).get("task", "") in ("", "translation")


def base_of(run: RunFolder) -> str:
    """What the untouched model is called: a name on the hub, or the folder's own name without its path."""
    policy = str(run.config.get("model", {}).get("policy", ""))
    return base_on_hub(run) or Path(policy).name


def base_on_hub(run: RunFolder) -> str:
    """The untouched model's name on the hub; "" for one that came from a folder."""
    policy = str(run.config.get("model", {}).get("policy", ""))
    if policy == DEFAULT_POLICY:
        return DEFAULT_BASE
    return policy.removeprefix(HUB) if policy.startswith(HUB) else ""


def licence_of_model(run: RunFolder, policy: Path) -> str:
    """The licence of a run's model: by the texts that came with the untouched one, else by its name on the hub. Its
    architecture says nothing: anybody may train a Gemma from nothing.
    """
    by_name = GEMMA if base_on_hub(run).startswith(GEMMA_BASES) else ""
    return licence_of_texts(policy) or by_name


def eval_results(run: RunFolder, system: str) -> list[EvalResult]:
    """The scores of the model on each test set; of the learned metrics those that training did not optimise."""
    kind = "translation" if is_translation(run) else TASK
    return [
        EvalResult(
            task_type=kind,
            dataset_type="own",
            dataset_name=name or "test set of the run",
            metric_type=metric.key,
            metric_name=metric.label,
            metric_value=round(view.systems[system]["metrics"]["all"][metric.key], 4),
        )
        for name, view in run.views.items()
        if system in view.systems
        for metric in shown_metrics(view)
        if view.systems[system]["metrics"]["all"].get(metric.key) is not None
    ]


def shown_metrics(run: RunFolder) -> list[Metric]:
    """What the head lists."""
    held_out = {name: own for name, own in facts_of(run.systems).items() if not own["rewarded"]}
    return [*(metric for metric in METRICS if metric.key in SHOWN), *learned_metrics(held_out)]
