"""From contributed rows to token ids that know where they came from.

readers -> formats -> cleaning -> personal_data -> contamination -> duplicates (in pipeline) -> rendering -> build"""

from training.engine.corpus.build import Corpus, build_corpus, open_corpus

__all__ = ["Corpus", "build_corpus", "open_corpus"]
