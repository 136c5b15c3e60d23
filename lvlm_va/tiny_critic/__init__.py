"""Train and measure the tiny LLaVA that judges segments offline: scenes, grammar, model, training, evaluation."""
