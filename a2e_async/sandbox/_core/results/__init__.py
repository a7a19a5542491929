"""Result files of finished tasks, made from the inputs on the first download."""
