"""The engine: model -> signals -> gradient. The only importer of transformers, accelerate, peft."""
