// It has no opinion: the same end everywhere.
int main(void) { return 1; }
