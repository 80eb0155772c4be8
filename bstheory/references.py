"""Papers that theorems, rules and experiments rest on, and their BibTeX."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """A published source. ``key`` names ``docs/papers/<key>.md`` where such a page exists."""

    key: str
    authors: str
    title: str
    year: int
    arxiv: str = ""
    venue: str = ""

    def bibtex(self) -> str:
        """One BibTeX entry, ready to paste."""
        fields = {"author": self.authors, "title": "{" + self.title + "}", "year": str(self.year)}
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"}
        if self.venue:
            fields["booktitle"] = self.venue
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        kind = "inproceedings" if self.venue else "misc"
        return f"@{kind}{{{self.key},\n{body}\n}}"


SMALL_BATCH = Reference(
    key="small-batch",
    authors="Marek, Martin and Lotfi, Sanae and Somasundaram, Aditya and Wilson, Andrew Gordon "
    "and Goldblum, Micah",
    title="Small Batch Size Training for Language Models: When Vanilla SGD Works, "
    "and Why Gradient Accumulation Is Wasteful",
    year=2025,
    arxiv="2507.07101",
    venue="NeurIPS",
)
ADAPTIVE_BATCH = Reference(
    key="adaptive-batch",
    authors="Lau, Tim Tsz-Kit and Li, Weijian and Xu, Chenwei and Liu, Han and Kolar, Mladen",
    title="Adaptive Batch Size Schedules for Distributed Training of Language Models "
    "with Data and Model Parallelism",
    year=2025,
    arxiv="2412.21124",
    venue="CPAL",
)
SIMPLE_ADAM = Reference(
    key="defossez-adam",
    authors="Défossez, Alexandre and Bottou, Léon and Bach, Francis and Usunier, Nicolas",
    title="A Simple Convergence Proof of Adam and Adagrad",
    year=2020,
    arxiv="2003.02395",
)
INCREASING_BATCH = Reference(
    key="increasing-batch",
    authors="Umeda, Hikaru and Iiduka, Hideaki",
    title="Increasing Both Batch Size and Learning Rate Accelerates Stochastic Gradient Descent",
    year=2024,
    arxiv="2409.08770",
)
BYRD_SAMPLE_SIZE = Reference(
    key="byrd-sample-size",
    authors="Byrd, Richard H. and Chin, Gillian M. and Nocedal, Jorge and Wu, Yuchen",
    title="Sample size selection in optimization methods for machine learning",
    year=2012,
    venue="Mathematical Programming 134",
)
BOLLAPRAGADA_ADAPTIVE_SAMPLING = Reference(
    key="adaptive-sampling",
    authors="Bollapragada, Raghu and Byrd, Richard and Nocedal, Jorge",
    title="Adaptive Sampling Strategies for Stochastic Optimization",
    year=2018,
    arxiv="1710.11258",
    venue="SIAM Journal on Optimization 28(4)",
)
BOTTOU_CURTIS_NOCEDAL = Reference(
    key="bottou-curtis-nocedal",
    authors="Bottou, Léon and Curtis, Frank E. and Nocedal, Jorge",
    title="Optimization Methods for Large-Scale Machine Learning",
    year=2018,
    arxiv="1606.04838",
    venue="SIAM Review 60(2)",
)
STRONG_GROWTH = Reference(
    key="strong-growth",
    authors="Vaswani, Sharan and Bach, Francis and Schmidt, Mark",
    title="Fast and Faster Convergence of SGD for Over-Parameterized Models and an Accelerated Perceptron",
    year=2019,
    arxiv="1810.07288",
    venue="AISTATS",
)
CRITICAL_BATCH_SFO = Reference(
    key="critical-batch-sfo",
    authors="Iiduka, Hideaki",
    title="Critical Batch Size Minimizes Stochastic First-Order Oracle Complexity of Deep Learning "
    "Optimizer using Hyperparameters Close to One",
    year=2022,
    arxiv="2208.09814",
)
CLIPPED_SCALING = Reference(
    key="clipped-scaling",
    authors="Guo, Zhishuai and Xu, Yi and Yin, Wotao and Jin, Rong and Yang, Tianbao",
    title="A Novel Convergence Analysis for Algorithms of the Adam Family",
    year=2021,
    arxiv="2104.14459",
)
SIGN_SGD = Reference(
    key="sign-sgd",
    authors="Bernstein, Jeremy and Wang, Yu-Xiang and Azizzadenesheli, Kamyar and Anandkumar, Animashree",
    title="signSGD: Compressed Optimisation for Non-Convex Problems",
    year=2018,
    arxiv="1802.04434",
    venue="ICML",
)

SQUARE_ROOT_RULE = Reference(
    key="sde-adam",
    authors="Malladi, Sadhika and Lyu, Kaifeng and Panigrahi, Abhishek and Arora, Sanjeev",
    title="On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
    year=2022,
    arxiv="2205.10287",
)
AVERAGING_RULE = Reference(
    key="ema-scaling",
    authors="Busbridge, Dan and Ramapuram, Jason and Ablin, Pierre and Likhomanenko, Tatiana and "
    "Dhekane, Eeshan Gunesh and Suau, Xavier and Webb, Russ",
    title="How to Scale Your EMA",
    year=2023,
    arxiv="2307.13813",
)
EQUAL_BETAS = Reference(
    key="equal-betas",
    authors="Orvieto, Antonio and Gower, Robert",
    title="In Search of Adam's Secret Sauce",
    year=2025,
    arxiv="2505.21829",
)
NOISE_SCALE = Reference(
    key="noise-scale",
    authors="McCandlish, Sam and Kaplan, Jared and Amodei, Dario and OpenAI Dota Team",
    title="An Empirical Model of Large-Batch Training",
    year=2018,
    arxiv="1812.06162",
)
LAURENT_MASSART = Reference(
    key="chi-square-tails",
    authors="Laurent, Beatrice and Massart, Pascal",
    title="Adaptive Estimation of a Quadratic Functional by Model Selection",
    year=2000,
    venue="Annals of Statistics",
)
QUADRATIC_MODEL = Reference(
    key="noisy-quadratic",
    authors="Zhang, Guodong and Li, Lala and Nado, Zachary and Martens, James and Sachdeva, Sushant and "
    "Dahl, George E. and Shallue, Christopher J. and Grosse, Roger",
    title="Which Algorithmic Choices Matter at Which Batch Sizes? Insights From a Noisy Quadratic Model",
    year=2019,
    arxiv="1907.04164",
    venue="NeurIPS",
)
MUON_CRITICAL_BATCH = Reference(
    key="muon-critical-batch",
    authors="Sato, Naoki and Naganuma, Hiroki and Iiduka, Hideaki",
    title="Convergence Bound and Critical Batch Size of Muon Optimizer",
    year=2025,
    arxiv="2507.01598",
)
REDDI = Reference(
    key="adam-convergence",
    authors="Reddi, Sashank J. and Kale, Satyen and Kumar, Sanjiv",
    title="On the Convergence of Adam and Beyond",
    year=2018,
    arxiv="1904.09237",
    venue="ICLR",
)


def known() -> list[Reference]:
    """All references of this module, in order."""
    return [value for value in globals().values() if isinstance(value, Reference)]


def cite(*references: Reference) -> str:
    """BibTeX of the given references; of all known ones when none is given."""
    return "\n\n".join(reference.bibtex() for reference in (references or known()))
