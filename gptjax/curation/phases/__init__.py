"""The phases of a preparation: what each does with documents, as tasks for any process."""
